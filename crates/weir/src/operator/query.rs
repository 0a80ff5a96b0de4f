//! Which of many: filters, order, pages.

use clap::Args;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::api::{Api, ApiError, Page};
use super::resource::Resource;

/// The largest page that the API gives.
const LARGEST_PAGE: u16 = 200;

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those with this value, for example /enabled=true, /ext/site=plant-*; may be given several
    /// times. `*` and `?` stand for other letters. Numbers, true and false are taken as such; put
    /// double quotes around those that are texts: '/ext/room="12"'.
    #[arg(long = "filter", value_name = "POINTER=VALUE", value_parser = filter)]
    filters: Vec<String>,
    /// The order, for example /id:desc or /ext/site; may be given several times, first things first.
    #[arg(long = "sort", value_name = "POINTER[:desc]", value_parser = sort)]
    sorts: Vec<String>,
    /// How many to show, 1 to 200.
    #[arg(long, default_value_t = 30, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=i64::from(LARGEST_PAGE)))]
    page_size: u16,
    /// Which page of that size; the first is 0.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    page: u32,
    /// Show every one, however many pages.
    #[arg(long, conflicts_with_all = ["page", "page_size"])]
    all: bool,
}

impl ListArgs {
    pub(super) fn search(&self) -> Search {
        let filters = self.filters.iter();
        let filters = filters.map(|filter| ("filterJson", filter.clone()));
        let sorts = self.sorts.iter().map(|sort| ("sortJson", sort.clone()));
        Search {
            query: filters.chain(sorts).collect(),
            page_size: if self.all {
                LARGEST_PAGE
            } else {
                self.page_size
            },
            next: Some(self.page),
            whole: self.all,
        }
    }
}

/// A search that is under way.
pub(super) struct Search {
    query: Vec<(&'static str, String)>,
    page_size: u16,
    /// The next page; none when that was the last.
    next: Option<u32>,
    whole: bool,
}

impl Search {
    /// Every object, by id.
    pub(super) fn everything() -> Self {
        Self {
            query: vec![("sortJson", json!({"field": "/id"}).to_string())],
            page_size: LARGEST_PAGE,
            next: Some(0),
            whole: true,
        }
    }

    pub(super) fn only(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// The next page, or none after the last; where nothing is found, one that is empty.
    pub(super) async fn next(
        &mut self,
        api: &Api,
        collection: Resource<'_>,
    ) -> Result<Option<Page>, ApiError> {
        let Some(offset) = self.next.take() else {
            return Ok(None);
        };
        let mut query = self.query.clone();
        query.push(("pageSize", self.page_size.to_string()));
        query.push(("pageOffset", offset.to_string()));
        let page = match api.search(collection, &query).await {
            Err(error) if error.is(StatusCode::NOT_FOUND) => {
                // The API says the same where there is no such tenant.
                if let Resource::Devices(tenant) = collection {
                    api.get::<Value>(Resource::Tenant(tenant)).await?;
                }
                let result = Vec::new();
                Page { total: 0, result }
            }
            page => page?,
        };
        let seen = (u64::from(offset) + 1) * u64::from(self.page_size);
        if self.whole && seen < page.total && !page.result.is_empty() {
            self.next = Some(offset + 1);
        }
        Ok(Some(page))
    }
}

fn pointer(text: &str) -> String {
    match text.starts_with('/') {
        true => text.to_owned(),
        false => format!("/{text}"),
    }
}

/// `POINTER=VALUE` as the API wants it.
fn filter(text: &str) -> Result<String, String> {
    let (field, value) = text.split_once('=').ok_or("is not POINTER=VALUE")?;
    let value = match serde_json::from_str(value) {
        Ok(value @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) => value,
        _ => Value::from(value),
    };
    Ok(json!({"field": pointer(field), "value": value}).to_string())
}

/// `POINTER`, `POINTER:asc` or `POINTER:desc` as the API wants it.
fn sort(text: &str) -> Result<String, String> {
    let (field, direction) = match text.rsplit_once(':') {
        Some((field, direction @ ("asc" | "desc"))) => (field, direction),
        _ => (text, "asc"),
    };
    Ok(json!({"field": pointer(field), "direction": direction}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: Result<String, String>) -> Value {
        serde_json::from_str(&text.unwrap()).unwrap()
    }

    #[test]
    fn filters_keep_the_type_of_their_value() {
        let rows = [
            ("/enabled=true", json!({"field": "/enabled", "value": true})),
            (
                "enabled=false",
                json!({"field": "/enabled", "value": false}),
            ),
            ("/ext/room=12", json!({"field": "/ext/room", "value": 12})),
            (
                "/ext/room=\"12\"",
                json!({"field": "/ext/room", "value": "12"}),
            ),
            ("/ext/a=b=c", json!({"field": "/ext/a", "value": "b=c"})),
            ("/id=gw-*", json!({"field": "/id", "value": "gw-*"})),
            ("/ext/x={}", json!({"field": "/ext/x", "value": "{}"})),
            ("/ext/x=", json!({"field": "/ext/x", "value": ""})),
        ];
        for (text, expected) in rows {
            assert_eq!(parsed(filter(text)), expected, "{text}");
        }
        assert!(filter("/enabled").is_err());
    }

    #[test]
    fn the_order_is_ascending_unless_it_says_otherwise() {
        let rows = [
            ("/id:desc", json!({"field": "/id", "direction": "desc"})),
            ("id", json!({"field": "/id", "direction": "asc"})),
            ("/ext/a:b", json!({"field": "/ext/a:b", "direction": "asc"})),
        ];
        for (text, expected) in rows {
            assert_eq!(parsed(sort(text)), expected, "{text}");
        }
    }
}
