//! Leaves in PostgreSQL: rows of `v`, which is `jsonb`. Its equality is what filters mean: numbers
//! by value, everything else by kind and value.

use std::fmt::Write as _;

use serde_json::Value;

use super::filter::Wanted;
use super::pointer::{Pointer, index};
use super::statement::{Args, Order, Source};

/// How a search begins. It sees the database as it is at its first statement. How many leaves there
/// are is overestimated by far; compiling for so many would take longer than finding the few.
pub(super) const BEGIN: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL jit = off";

/// Whom devices name as their gateways; to be restricted to a tenant.
pub(super) const VIA: &str = "SELECT jsonb_array_elements_text(\
                              CAST(replace(other.object, '\\u0000', '\\ufffd') AS jsonb) -> 'via'\
                              ) AS id FROM devices AS other";

/// Of what is absent, null, a number, a text, an object or array, or a boolean; in this order.
const RANK: &str = "CASE jsonb_typeof(leaf.v) WHEN 'null' THEN 0 WHEN 'number' THEN 1 \
                    WHEN 'string' THEN 2 WHEN 'boolean' THEN 4 ELSE 3 END";

/// To be added to FROM, once: the objects of a table as `parsed.object`. `jsonb` has no NUL. OFFSET
/// keeps it from being parsed anew wherever it is used.
pub(super) fn parsed(table: &str) -> String {
    format!(
        " CROSS JOIN LATERAL (SELECT \
         CAST(replace({table}.object, '\\u0000', '\\ufffd') AS jsonb) AS object \
         OFFSET 0) AS parsed"
    )
}

/// What selects the leaves.
pub(super) fn leaves(source: &Source<'_>, args: &mut Args) -> String {
    match source {
        Source::Stored(_, pointer) => stored(pointer, args),
        Source::Text(column) => {
            format!("SELECT to_jsonb({column}) AS v WHERE {column} IS NOT NULL")
        }
        Source::Time(column) => format!(
            "SELECT to_jsonb(to_char(to_timestamp({column} / 1000) AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) AS v WHERE {column} IS NOT NULL"
        ),
        Source::Flag(condition) => format!("SELECT jsonb 'true' AS v WHERE {condition}"),
        Source::Object => "SELECT jsonb '{}' AS v".to_owned(),
        Source::Nothing => "SELECT jsonb 'null' AS v WHERE FALSE".to_owned(),
    }
}

fn stored(pointer: &Pointer, args: &mut Args) -> String {
    let (mut from, mut last) = (String::new(), "parsed.object".to_owned());
    for (number, name) in pointer.names().enumerate() {
        let key = args.text(name);
        let _ = if number == 0 {
            write!(from, "(SELECT {last} -> {key} AS v) AS m0")
        } else if index(name).is_some() {
            // Where an element is named, the array stands for itself.
            write!(
                from,
                " CROSS JOIN LATERAL (SELECT {last} #> ARRAY[{key}] AS v) AS m{number}"
            )
        } else {
            write!(
                from,
                " CROSS JOIN LATERAL (SELECT place.v -> {key} AS v FROM jsonb_array_elements(\
                 CASE jsonb_typeof({last}) WHEN 'array' THEN {last} \
                 ELSE jsonb_build_array({last}) END) AS place (v)) AS m{number}"
            )
        };
        last = format!("m{number}.v");
    }
    format!(
        "SELECT coalesce(e.v, {last}) AS v FROM {from} LEFT JOIN LATERAL jsonb_array_elements(\
         CASE jsonb_typeof({last}) WHEN 'array' THEN {last} END) AS e (v) ON TRUE \
         WHERE {last} IS NOT NULL"
    )
}

/// The condition on a leaf that it equals a value.
pub(super) fn equals(value: &Wanted, args: &mut Args) -> String {
    let json = match value {
        Wanted::Null => Value::Null,
        Wanted::Bool(value) => Value::Bool(*value),
        Wanted::Number(value) => Value::Number(value.clone()),
        Wanted::Text(text) => Value::String(text.clone()),
        Wanted::Pattern(pattern) => {
            let like = args.text(&like(pattern));
            return format!("(jsonb_typeof(leaf.v) = 'string' AND leaf.v #>> '{{}}' LIKE {like})");
        }
    };
    format!("leaf.v = CAST({} AS jsonb)", args.text(&json.to_string()))
}

fn like(pattern: &str) -> String {
    let mut like = String::with_capacity(pattern.len());
    for c in pattern.chars() {
        match c {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            c => like.push(c),
        }
    }
    like
}

/// The rule that compares first leaves.
pub(super) fn order(leaves: &str, direction: &str, number: usize) -> Order {
    let name = format!("sort{number}");
    let join = format!(
        " LEFT JOIN LATERAL (SELECT {RANK} AS rank, \
         CASE jsonb_typeof(leaf.v) WHEN 'number' THEN CAST(leaf.v AS numeric) \
         WHEN 'boolean' THEN CAST(CAST(leaf.v AS boolean) AS int) END AS number, \
         CASE jsonb_typeof(leaf.v) WHEN 'string' THEN leaf.v #>> '{{}}' END COLLATE \"C\" AS text \
         FROM ({leaves}) AS leaf \
         ORDER BY rank {direction}, number {direction}, text {direction} LIMIT 1) AS {name} ON TRUE"
    );
    Order {
        join,
        keys: vec![
            format!("coalesce({name}.rank, 0) {direction}"),
            format!("{name}.number {direction}"),
            format!("{name}.text {direction}"),
        ],
    }
}
