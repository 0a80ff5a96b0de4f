//! Search over tenants and over a tenant's devices, as operators page through them.
//!
//! A [`Pointer`] leads to the *leaves* of an object, as Mongo's dotted paths do: what it points at,
//! and the elements instead of an array. On the way, an array stands for each of its elements, so
//! `/trusted-ca/subject-dn` has a leaf for each authority. A filter matches if it does for any leaf;
//! an object is sorted by its first leaf. How leaves are had from JSON in SQL is in `sqlite.rs` and
//! `postgres.rs`; `statement.rs` has the rest of the statements.

mod filter;
mod pointer;
mod postgres;
mod sqlite;
mod statement;

use std::time::Duration;

use sqlx::{Any, Transaction};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use weir_core::{Device, DeviceId, Tenant, TenantId};

pub use filter::{Filter, FilterError, Op};
pub use pointer::{Pointer, PointerError};

use crate::device::{STATUS_COLUMNS, shown};
use crate::dialect::Dialect;
use crate::{ReadError, SqlRegistry, Unavailable};
use statement::Statement;

/// Searches at a time, of all registries of the process. Each occupies one of the connections that
/// look-ups share, perhaps for long.
static SEARCHES: Semaphore = Semaphore::const_new(2);
/// How long a search waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// What to search for, and which page of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    filters: Vec<Filter>,
    sort: Vec<Sort>,
    page_size: u32,
    page_offset: u32,
}

/// One rule of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// What is compared: what is absent or null comes first, then numbers, strings, objects and
    /// arrays, booleans.
    pub field: Pointer,
    /// Which way.
    pub direction: Direction,
}

/// Which way something is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The least first.
    #[default]
    Ascending,
    /// The greatest first.
    Descending,
}

/// A search that is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// It has too many filters.
    #[error("at most {} filters are allowed", Search::MAX_FILTERS)]
    Filters,
    /// Its order has too many rules.
    #[error("at most {} rules of order are allowed", Search::MAX_SORTS)]
    Sorts,
    /// Its pages are empty or too large.
    #[error("a page has 1 to {} objects", Search::MAX_PAGE_SIZE)]
    PageSize,
}

/// A page of what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// How many objects match, on whatever page.
    pub total: u64,
    /// Those on this page.
    pub items: Vec<T>,
}

impl Search {
    /// The most objects on a page.
    pub const MAX_PAGE_SIZE: u32 = 200;
    /// The objects on a page if nobody says.
    pub const DEFAULT_PAGE_SIZE: u32 = 30;
    /// The most filters.
    pub const MAX_FILTERS: usize = 16;
    /// The most rules of an order.
    pub const MAX_SORTS: usize = 8;

    /// A search for what matches all `filters`, in the order of the rules in `sort`, then of ids. Of
    /// that, it has the page number `page_offset`, counted from 0, of `page_size` objects.
    ///
    /// # Errors
    /// If that is beyond a limit.
    pub fn new(
        filters: Vec<Filter>,
        sort: Vec<Sort>,
        page_size: u32,
        page_offset: u32,
    ) -> Result<Self, SearchError> {
        if filters.len() > Self::MAX_FILTERS {
            return Err(SearchError::Filters);
        }
        if sort.len() > Self::MAX_SORTS {
            return Err(SearchError::Sorts);
        }
        if !(1..=Self::MAX_PAGE_SIZE).contains(&page_size) {
            return Err(SearchError::PageSize);
        }
        Ok(Self {
            filters,
            sort,
            page_size,
            page_offset,
        })
    }

    /// How many objects come before the page.
    fn skipped(&self) -> u64 {
        u64::from(self.page_size) * u64::from(self.page_offset)
    }
}

/// All objects by their ids, the first page of them.
impl Default for Search {
    fn default() -> Self {
        Self {
            filters: Vec::new(),
            sort: Vec::new(),
            page_size: Self::DEFAULT_PAGE_SIZE,
            page_offset: 0,
        }
    }
}

impl SqlRegistry {
    /// Searches the tenants.
    ///
    /// # Errors
    /// If the storage does not answer.
    pub async fn search_tenants(
        &self,
        search: &Search,
    ) -> Result<Page<(TenantId, Tenant)>, Unavailable> {
        let (registry, search) = (self.clone(), search.clone());
        in_turn(
            &SEARCHES,
            async move { registry.find_tenants(&search).await },
        )
        .await
    }

    /// Searches the devices of a tenant: the gateways among them, the others, or all. A gateway is
    /// one that a device names in `via`, or that belongs to a group.
    ///
    /// # Errors
    /// If there is no such tenant, or the storage does not answer.
    pub async fn search_devices(
        &self,
        tenant: &TenantId,
        is_gateway: Option<bool>,
        search: &Search,
    ) -> Result<Page<(DeviceId, Device)>, ReadError> {
        let (registry, tenant, search) = (self.clone(), tenant.clone(), search.clone());
        let find = async move { registry.find_devices(&tenant, is_gateway, &search).await };
        let found = in_turn(&SEARCHES, find).await?;
        found.ok_or(ReadError::NotFound)
    }

    async fn find_tenants(&self, search: &Search) -> Result<Page<(TenantId, Tenant)>, Unavailable> {
        let mut tx = self.begin_search().await?;
        let statement = Statement::tenants(self.store().dialect, search);
        let (total,): (i64,) = statement.count().fetch_one(&mut *tx).await?;
        let page = statement.page("tenants.id, tenants.object");
        let rows: Vec<(String, String)> = page.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        Page::new(total, rows, |(id, object)| {
            let tenant = serde_json::from_str(&object)?;
            Ok((id.into(), tenant))
        })
    }

    /// The page, if there is such a tenant.
    async fn find_devices(
        &self,
        tenant: &TenantId,
        is_gateway: Option<bool>,
        search: &Search,
    ) -> Result<Option<Page<(DeviceId, Device)>>, Unavailable> {
        let mut tx = self.begin_search().await?;
        let existing: Option<(String,)> = sqlx::query_as("SELECT id FROM tenants WHERE id = $1")
            .bind(tenant.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        if existing.is_none() {
            return Ok(None);
        }
        let statement = Statement::devices(self.store().dialect, tenant, is_gateway, search);
        let (total,): (i64,) = statement.count().fetch_one(&mut *tx).await?;
        type Row = (String, String, i64, Option<i64>, Option<String>, i64);
        let page = statement.page(&format!("devices.id, devices.object, {STATUS_COLUMNS}"));
        let rows: Vec<Row> = page.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let page = Page::new(total, rows, |row| {
            let (id, object, created, updated, user, provisioned) = row;
            let device = shown(&object, (created, updated, user, provisioned))?;
            Ok((id.into(), device))
        });
        page.map(Some)
    }

    /// What a search reads is as if read at once: counting and fetching in one statement would keep
    /// the database from stopping at the end of the page.
    async fn begin_search(&self) -> Result<Transaction<'static, Any>, Unavailable> {
        let begin = match self.store().dialect {
            Dialect::Sqlite => sqlite::BEGIN,
            Dialect::Postgres => postgres::BEGIN,
        };
        Ok(self.readers().begin_with(begin).await?)
    }
}

/// Waits for one of `turns` and does `work`, to its end even if nobody waits for it any more: the
/// database cannot be told to stop, and the turn is over only when it has.
async fn in_turn<T: Send + 'static>(
    turns: &'static Semaphore,
    work: impl Future<Output = Result<T, Unavailable>> + Send + 'static,
) -> Result<T, Unavailable> {
    let waited = timeout(TURN, turns.acquire()).await;
    let turn = waited.map_err(|_| sqlx::Error::PoolTimedOut)?;
    // It is never closed.
    let turn = turn.map_err(|_| sqlx::Error::PoolClosed)?;
    let done = tokio::spawn(async move {
        let done = work.await;
        drop(turn);
        done
    });
    // It panicked, or the process ends.
    done.await.map_err(|error| sqlx::Error::Io(error.into()))?
}

impl<T> Page<T> {
    /// A page of rows, each parsed.
    fn new<R>(
        total: i64,
        rows: Vec<R>,
        parse: impl Fn(R) -> Result<T, Unavailable>,
    ) -> Result<Self, Unavailable> {
        Ok(Self {
            total: u64::try_from(total).unwrap_or(0),
            items: rows.into_iter().map(parse).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn an_abandoned_search_keeps_its_turn_until_it_is_done() {
        static TURNS: Semaphore = Semaphore::const_new(1);
        let (begun, has_begun) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let search = tokio::spawn(in_turn(&TURNS, async {
            let _ = begun.send(());
            let _ = ended.await;
            Ok(())
        }));
        has_begun.await.unwrap();
        search.abort();
        assert!(search.await.unwrap_err().is_cancelled());
        assert_eq!(TURNS.available_permits(), 0);
        end.send(()).unwrap();
        assert_eq!(in_turn(&TURNS, async { Ok(5) }).await.unwrap(), 5);
        assert_eq!(TURNS.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_search_that_panics_fails_and_gives_its_turn_back() {
        static TURNS: Semaphore = Semaphore::const_new(1);
        for _ in 0..2 {
            let found = in_turn::<()>(&TURNS, async { panic!("of a search") });
            assert!(found.await.is_err());
        }
    }
}
