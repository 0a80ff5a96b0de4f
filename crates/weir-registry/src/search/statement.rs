//! The statements of a search, put together of constants and parameters.

use std::fmt::Write as _;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::QueryAs;
use sqlx::{Any, AssertSqlSafe, FromRow};
use weir_core::TenantId;

use super::filter::{Filter, Op, Wanted};
use super::pointer::Pointer;
use super::{Direction, Search, Sort, postgres, sqlite};
use crate::dialect::Dialect;

/// What counts and what fetches the objects that a search finds.
pub(super) struct Statement {
    dialect: Dialect,
    table: &'static str,
    /// After FROM.
    tables: String,
    /// After WHERE.
    conditions: Vec<String>,
    orders: Vec<Order>,
    limit: String,
    args: Args,
    /// How many of the parameters are of what comes before the order.
    counting: usize,
}

/// What the parameters stand for.
#[derive(Default)]
pub(super) struct Args(Vec<Arg>);

enum Arg {
    Text(String),
    Int(i64),
    Real(f64),
}

/// A rule of order, in SQL.
pub(super) struct Order {
    /// To be added to FROM.
    pub(super) join: String,
    /// To be compared, one after another.
    pub(super) keys: Vec<String>,
}

/// Where the leaves of a pointer are.
pub(super) enum Source<'a> {
    /// Within the stored objects of a table.
    Stored(&'static str, &'a Pointer),
    /// It is a column with a text, if that is not NULL.
    Text(&'static str),
    /// It is a column with a time in milliseconds since 1970, if that is not NULL.
    Time(&'static str),
    /// It is true if this condition holds; otherwise it is not shown.
    Flag(&'static str),
    /// It is an object that is always there.
    Object,
    /// There are none.
    Nothing,
}

impl Statement {
    pub(super) fn tenants(dialect: Dialect, search: &Search) -> Self {
        Self::new(dialect, "tenants").with(search)
    }

    pub(super) fn devices(
        dialect: Dialect,
        tenant: &TenantId,
        is_gateway: Option<bool>,
        search: &Search,
    ) -> Self {
        let mut statement = Self::new(dialect, "devices");
        let tenant = statement.args.text(tenant.as_str());
        statement
            .conditions
            .push(format!("devices.tenant = {tenant}"));
        if let Some(is_gateway) = is_gateway {
            let named = match dialect {
                Dialect::Sqlite => sqlite::VIA,
                Dialect::Postgres => postgres::VIA,
            };
            // Joined, so that it is evaluated once.
            let _ = write!(
                statement.tables,
                " LEFT JOIN ({named} WHERE other.tenant = {tenant} \
                 UNION SELECT device FROM memberships WHERE tenant = {tenant}) AS gateways \
                 ON gateways.id = devices.id"
            );
            let is = if is_gateway { "IS NOT NULL" } else { "IS NULL" };
            statement.conditions.push(format!("gateways.id {is}"));
        }
        statement.with(search)
    }

    fn new(dialect: Dialect, table: &'static str) -> Self {
        Self {
            dialect,
            table,
            tables: table.to_owned(),
            conditions: Vec::new(),
            orders: Vec::new(),
            limit: String::new(),
            args: Args::default(),
            counting: 0,
        }
    }

    fn with(mut self, search: &Search) -> Self {
        let filtered = search.filters.iter().map(|filter| &filter.field);
        let sorted = search.sort.iter().map(|sort| &sort.field);
        let is_stored = |field| matches!(self.source(field), Source::Stored(..));
        if self.dialect == Dialect::Postgres && filtered.chain(sorted).any(is_stored) {
            self.tables.push_str(&postgres::parsed(self.table));
        }
        for filter in &search.filters {
            let condition = self.condition(filter);
            self.conditions.push(condition);
        }
        self.counting = self.args.0.len();
        for (number, sort) in search.sort.iter().enumerate() {
            let order = self.order(number, sort);
            self.orders.push(order);
        }
        let size = self.args.int(search.page_size.into());
        let skipped = i64::try_from(search.skipped()).unwrap_or(i64::MAX);
        self.limit = format!("LIMIT {size} OFFSET {}", self.args.int(skipped));
        self
    }

    /// Counts what is found.
    pub(super) fn count<O>(&self) -> QueryAs<'static, Any, O, AnyArguments>
    where
        O: for<'r> FromRow<'r, AnyRow>,
    {
        let sql = format!("SELECT COUNT(*) FROM {}{}", self.tables, self.found());
        self.query(sql, self.counting)
    }

    /// Fetches `columns` of the objects on the page.
    pub(super) fn page<O>(&self, columns: &str) -> QueryAs<'static, Any, O, AnyArguments>
    where
        O: for<'r> FromRow<'r, AnyRow>,
    {
        let mut sql = format!("SELECT {columns} FROM {}", self.tables);
        let mut keys = String::new();
        for order in &self.orders {
            sql.push_str(&order.join);
            for key in &order.keys {
                let _ = write!(keys, "{key}, ");
            }
        }
        let (table, limit, found) = (self.table, &self.limit, self.found());
        let _ = write!(sql, "{found} ORDER BY {keys}{table}.id {limit}");
        self.query(sql, self.args.0.len())
    }

    fn found(&self) -> String {
        if self.conditions.is_empty() {
            return String::new();
        }
        format!(" WHERE {}", self.conditions.join(" AND "))
    }

    /// A query with the first so many parameters.
    fn query<O>(&self, sql: String, args: usize) -> QueryAs<'static, Any, O, AnyArguments>
    where
        O: for<'r> FromRow<'r, AnyRow>,
    {
        // It consists of this crate's constants; what is asked for is in parameters.
        let query = sqlx::query_as(AssertSqlSafe(sql));
        // Hardly one is like another, and the look-ups' are to stay prepared.
        let query = query.persistent(false);
        let args = self.args.0.iter().take(args);
        args.fold(query, |query, arg| match arg {
            Arg::Text(text) => query.bind(text.clone()),
            Arg::Int(number) => query.bind(*number),
            Arg::Real(number) => query.bind(*number),
        })
    }

    fn source<'a>(&self, field: &'a Pointer) -> Source<'a> {
        let names: Vec<&str> = field.names().collect();
        match (self.table, names.as_slice()) {
            ("tenants", ["id"]) => Source::Text("tenants.id"),
            ("devices", ["id"]) => Source::Text("devices.id"),
            ("devices", ["status"]) => Source::Object,
            ("devices", ["status", "created"]) => Source::Time("devices.created"),
            ("devices", ["status", "updated"]) => Source::Time("devices.updated"),
            ("devices", ["status", "last-user"]) => Source::Text("devices.last_user"),
            ("devices", ["status", "auto-provisioned"]) => Source::Flag("devices.provisioned <> 0"),
            ("devices", ["status", "auto-provisioning-notification-sent"]) => {
                Source::Flag("devices.provisioned = 2")
            }
            ("devices", ["status", ..]) => Source::Nothing,
            (table, _) => Source::Stored(table, field),
        }
    }

    fn leaves(&mut self, field: &Pointer) -> String {
        let source = self.source(field);
        match self.dialect {
            Dialect::Sqlite => sqlite::leaves(&source, &mut self.args),
            Dialect::Postgres => postgres::leaves(&source, &mut self.args),
        }
    }

    fn condition(&mut self, filter: &Filter) -> String {
        let leaves = self.leaves(&filter.field);
        let mut alternatives = Vec::new();
        for value in &filter.values {
            alternatives.push(match self.dialect {
                Dialect::Sqlite => sqlite::equals(value, &mut self.args),
                Dialect::Postgres => postgres::equals(value, &mut self.args),
            });
        }
        let mut condition = if alternatives.is_empty() {
            "FALSE".to_owned()
        } else {
            let one = alternatives.join(" OR ");
            format!("EXISTS (SELECT 1 FROM ({leaves}) AS leaf WHERE {one})")
        };
        if filter.values.contains(&Wanted::Null) {
            condition = format!("({condition} OR NOT EXISTS ({leaves}))");
        }
        match filter.op {
            Op::Eq | Op::In => condition,
            Op::NotIn => format!("NOT {condition}"),
        }
    }

    fn order(&mut self, number: usize, sort: &Sort) -> Order {
        let leaves = self.leaves(&sort.field);
        let direction = match sort.direction {
            Direction::Ascending => "ASC",
            Direction::Descending => "DESC",
        };
        match self.dialect {
            Dialect::Sqlite => sqlite::order(&leaves, direction),
            Dialect::Postgres => postgres::order(&leaves, direction, number),
        }
    }
}

impl Args {
    /// Adds a text; what stands for it in SQL.
    pub(super) fn text(&mut self, text: &str) -> String {
        self.add(Arg::Text(text.to_owned()))
    }

    pub(super) fn int(&mut self, number: i64) -> String {
        self.add(Arg::Int(number))
    }

    pub(super) fn real(&mut self, number: f64) -> String {
        self.add(Arg::Real(number))
    }

    fn add(&mut self, arg: Arg) -> String {
        self.0.push(arg);
        format!("${}", self.0.len())
    }
}
