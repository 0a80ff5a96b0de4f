//! What an object has to have to be found.

use serde_json::{Number, Value};

use super::pointer::Pointer;

/// A condition on the leaves that a pointer leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    pub(super) field: Pointer,
    pub(super) op: Op,
    pub(super) values: Vec<Wanted>,
}

/// How a filter compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Op {
    /// A leaf equals the value.
    #[default]
    Eq,
    /// A leaf equals one of the values.
    In,
    /// No leaf equals any of the values.
    NotIn,
}

/// What a leaf is compared with. Numbers and booleans only equal their kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// Also what is absent.
    Null,
    Bool(bool),
    Number(Number),
    /// Without wildcards.
    Text(String),
    /// With `*` for any text and `?` for any character; neither can be escaped.
    Pattern(String),
}

/// A value that nothing can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It is an object or an array.
    #[error("a string, a number, a boolean or null is expected")]
    NotScalar,
    /// It is no array, and the operator asks for one.
    #[error("an array is expected, of at most {} values", Filter::MAX_VALUES)]
    NotList,
    /// It is a string that is too long.
    #[error("a string has at most {} characters", Filter::MAX_CHARS)]
    TooLong,
    /// It is a string with too many wildcards.
    #[error("a string has at most {} times *", Filter::MAX_WILDCARDS)]
    TooWild,
    /// It is a string with a NUL.
    #[error("a string with NUL is not allowed")]
    Nul,
}

impl Filter {
    /// The most characters of a string.
    pub const MAX_CHARS: usize = 256;
    /// The most `*` in a string: a database may try many ways to match them.
    pub const MAX_WILDCARDS: usize = 16;
    /// The most values of [`Op::In`] and [`Op::NotIn`].
    pub const MAX_VALUES: usize = 100;

    /// A filter. `value` is a scalar for [`Op::Eq`], and an array of them for the others. In strings
    /// `*` stands for any text and `?` for any character. Null is equal also to what is absent.
    ///
    /// # Errors
    /// If the value is of another kind or beyond a limit.
    pub fn new(field: Pointer, op: Op, value: Value) -> Result<Self, FilterError> {
        let values = match (op, value) {
            (Op::Eq, value) => vec![value],
            (_, Value::Array(values)) if values.len() <= Self::MAX_VALUES => values,
            _ => return Err(FilterError::NotList),
        };
        let values = values
            .into_iter()
            .map(Wanted::new)
            .collect::<Result<_, _>>()?;
        Ok(Self { field, op, values })
    }
}

impl Wanted {
    fn new(value: Value) -> Result<Self, FilterError> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(value) => Self::Number(value),
            Value::String(text) if text.contains('\0') => return Err(FilterError::Nul),
            Value::String(text) if text.chars().count() > Filter::MAX_CHARS => {
                return Err(FilterError::TooLong);
            }
            Value::String(text) if text.matches('*').count() > Filter::MAX_WILDCARDS => {
                return Err(FilterError::TooWild);
            }
            Value::String(text) if text.contains(['*', '?']) => Self::Pattern(text),
            Value::String(text) => Self::Text(text),
            Value::Array(_) | Value::Object(_) => return Err(FilterError::NotScalar),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nothing_can_be_compared_with_is_refused() {
        let field: Pointer = "/a".parse().unwrap();
        let refused = |op, value| Filter::new(field.clone(), op, value).err();
        let rows = [
            (Op::Eq, json!("ä".repeat(256)), None),
            (Op::Eq, json!("ä".repeat(257)), Some(FilterError::TooLong)),
            (Op::Eq, json!("*".repeat(16)), None),
            (Op::Eq, json!("*".repeat(17)), Some(FilterError::TooWild)),
            (Op::Eq, json!("a\0"), Some(FilterError::Nul)),
            (Op::Eq, json!(["a"]), Some(FilterError::NotScalar)),
            (Op::Eq, json!({}), Some(FilterError::NotScalar)),
            (Op::Eq, json!(null), None),
            (Op::In, json!("a"), Some(FilterError::NotList)),
            (Op::In, json!([["a"]]), Some(FilterError::NotScalar)),
            (Op::In, json!([]), None),
            (Op::NotIn, json!(vec![1; 100]), None),
            (Op::NotIn, json!(vec![1; 101]), Some(FilterError::NotList)),
        ];
        for (op, value, expected) in rows {
            assert_eq!(refused(op, value.clone()), expected, "{op:?} {value}");
        }
    }
}
