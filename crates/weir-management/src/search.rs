//! `GET` on collections: searching them, page by page.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::response::Response;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use weir_registry::{Direction, Filter, Op, Page, Pointer, ReadError, Search, SearchError, Sort};

use crate::answer::{self, Failure};
use crate::api::Api;
use crate::object::{Broken, object, parse_with_nulls};
use crate::request::TenantPath;

const PAGE_SIZE: &str = "pageSize";
const PAGE_OFFSET: &str = "pageOffset";
const FILTER: &str = "filterJson";
const SORT: &str = "sortJson";
const IS_GATEWAY: &str = "isGateway";

/// What is asked after the `?`, in the order it is written.
pub(crate) struct Asked(Vec<(String, String)>);

/// A page as it is shown.
#[derive(Serialize)]
struct Shown<T> {
    total: u64,
    result: Vec<Found<T>>,
}

/// An object among its members, of which its id is one.
#[derive(Serialize)]
struct Found<T> {
    id: String,
    #[serde(flatten)]
    object: T,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterJson {
    #[serde(deserialize_with = "pointer")]
    field: Pointer,
    value: Value,
    op: Option<FilterOp>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
enum FilterOp {
    Eq,
    In,
    NotIn,
}

/// serde itself would also take an object with the name as its member.
impl TryFrom<String> for FilterOp {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        match name.as_str() {
            "eq" => Ok(Self::Eq),
            "in" => Ok(Self::In),
            "not_in" => Ok(Self::NotIn),
            _ => Err("one of `eq`, `in`, `not_in` is expected"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SortJson {
    #[serde(deserialize_with = "pointer")]
    field: Pointer,
    direction: Option<SortDirection>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
enum SortDirection {
    Asc,
    Desc,
}

impl TryFrom<String> for SortDirection {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        match name.as_str() {
            "asc" => Ok(Self::Asc),
            "desc" => Ok(Self::Desc),
            _ => Err("`asc` or `desc` is expected"),
        }
    }
}

pub(crate) async fn tenants(
    State(api): State<Arc<Api>>,
    asked: Asked,
) -> Result<Response, Failure> {
    let found = api.registry.search_tenants(&asked.search()?).await?;
    shown(found)
}

pub(crate) async fn devices(
    State(api): State<Arc<Api>>,
    TenantPath(tenant): TenantPath,
    asked: Asked,
) -> Result<Response, Failure> {
    let (search, is_gateway) = (asked.search()?, asked.is_gateway()?);
    let found = api
        .registry
        .search_devices(&tenant, is_gateway, &search)
        .await?;
    shown(found)
}

/// To find nothing at all is a failure; to look behind the last page is not.
fn shown<I: ToString, T: Serialize>(page: Page<(I, T)>) -> Result<Response, Failure> {
    if page.total == 0 {
        return Err(ReadError::NotFound.into());
    }
    let items = page.items.into_iter();
    let found = items.map(|(id, object)| Found {
        id: id.to_string(),
        object,
    });
    Ok(answer::page(&Shown {
        total: page.total,
        result: found.collect(),
    }))
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = Query::from_request_parts(parts, state).await;
        let bad = |rejection: QueryRejection| Failure::bad_request(rejection.body_text());
        let Query(pairs) = query.map_err(bad)?;
        Ok(Self(pairs))
    }
}

impl Asked {
    /// What is asked for with one name. Other names mean nothing.
    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.0.iter();
        pairs.filter_map(move |(key, value)| (key == name).then_some(value.as_str()))
    }

    fn search(&self) -> Result<Search, Broken> {
        let filters = self.all(FILTER).map(filter);
        let sort = self.all(SORT).map(sort);
        let search = Search::new(
            filters.collect::<Result<_, _>>()?,
            sort.collect::<Result<_, _>>()?,
            self.number(PAGE_SIZE, Search::DEFAULT_PAGE_SIZE)?,
            self.number(PAGE_OFFSET, 0)?,
        );
        search.map_err(|error| {
            let parameter = match error {
                SearchError::Filters => FILTER,
                SearchError::Sorts => SORT,
                SearchError::PageSize => PAGE_SIZE,
            };
            Broken::new(parameter, error.to_string())
        })
    }

    fn number(&self, name: &str, default: u32) -> Result<u32, Broken> {
        let Some(text) = self.all(name).next() else {
            return Ok(default);
        };
        let number = text.parse();
        number.map_err(|_| Broken::new(name, "a number in range is expected"))
    }

    fn is_gateway(&self) -> Result<Option<bool>, Broken> {
        match self.all(IS_GATEWAY).next() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Broken::new(IS_GATEWAY, "true or false is expected")),
        }
    }
}

fn filter(text: &str) -> Result<Filter, Broken> {
    let given: FilterJson = json(text).map_err(|broken| broken.within(FILTER))?;
    let op = match given.op {
        None | Some(FilterOp::Eq) => Op::Eq,
        Some(FilterOp::In) => Op::In,
        Some(FilterOp::NotIn) => Op::NotIn,
    };
    let filter = Filter::new(given.field, op, given.value);
    filter.map_err(|error| Broken::new("value", error.to_string()).within(FILTER))
}

fn sort(text: &str) -> Result<Sort, Broken> {
    let given: SortJson = json(text).map_err(|broken| broken.within(SORT))?;
    let direction = match given.direction {
        None | Some(SortDirection::Asc) => Direction::Ascending,
        Some(SortDirection::Desc) => Direction::Descending,
    };
    Ok(Sort {
        field: given.field,
        direction,
    })
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, Broken> {
    let value = serde_json::from_str(text).map_err(|_| Broken::new("", "malformed JSON"))?;
    // Null is a value to look for.
    object(value).and_then(parse_with_nulls)
}

fn pointer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pointer, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}
