//! Templates that make an id of a certificate's subject.

use std::str::FromStr;

use crate::DistinguishedName;

/// How long a template may be, in bytes.
pub const MAX_TEMPLATE: usize = 256;

/// How long what is made of a template may be, in bytes.
pub const MAX_RENDERED: usize = 4096;

/// Why something is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is longer than [`MAX_TEMPLATE`].
    #[error("the template is longer than {MAX_TEMPLATE} bytes")]
    TooLong,
    /// Braces that do not make up a placeholder.
    #[error("the template has braces that are no placeholder")]
    UnbalancedBraces,
    /// A placeholder that is not known.
    #[error(
        "unknown placeholder {0:?}; known are subject-dn, subject-cn, subject-ou and subject-o"
    )]
    UnknownPlaceholder(String),
    /// It would make the same id of every subject.
    #[error("the template has no placeholder")]
    NoPlaceholder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Name,
    CommonName,
    OrganizationalUnit,
    Organization,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Placeholder(Placeholder),
}

/// Text with at least one of `{{subject-dn}}`, `{{subject-cn}}`, `{{subject-ou}}`, `{{subject-o}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// If it has no placeholder, an unknown one, or braces anywhere else.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::TooLong);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once("{{") {
            let (name, behind) = behind
                .split_once("}}")
                .ok_or(TemplateError::UnbalancedBraces)?;
            push_literal(&mut parts, literal)?;
            parts.push(Part::Placeholder(name.parse()?));
            rest = behind;
        }
        if parts.is_empty() && !rest.contains(['{', '}']) {
            return Err(TemplateError::NoPlaceholder);
        }
        push_literal(&mut parts, rest)?;
        Ok(Self { parts })
    }

    /// Makes an id of a subject. `None` if the subject has no text for one of the placeholders, or if
    /// the id would be longer than [`MAX_RENDERED`].
    pub fn render(&self, subject: &DistinguishedName) -> Option<String> {
        let mut id = String::new();
        for part in &self.parts {
            let text = match part {
                Part::Literal(text) => text,
                Part::Placeholder(placeholder) => placeholder
                    .value(subject)
                    .filter(|value| !value.is_empty())?,
            };
            if id.len() + text.len() > MAX_RENDERED {
                return None;
            }
            id.push_str(text);
        }
        Some(id)
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) -> Result<(), TemplateError> {
    if text.contains(['{', '}']) {
        return Err(TemplateError::UnbalancedBraces);
    }
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
    Ok(())
}

impl Placeholder {
    fn value(self, subject: &DistinguishedName) -> Option<&str> {
        match self {
            Self::Name => Some(subject.as_str()),
            Self::CommonName => subject.common_name(),
            Self::OrganizationalUnit => subject.organizational_unit(),
            Self::Organization => subject.organization(),
        }
    }
}

impl FromStr for Placeholder {
    type Err = TemplateError;

    fn from_str(name: &str) -> Result<Self, TemplateError> {
        match name {
            "subject-dn" => Ok(Self::Name),
            "subject-cn" => Ok(Self::CommonName),
            "subject-ou" => Ok(Self::OrganizationalUnit),
            "subject-o" => Ok(Self::Organization),
            _ if name.contains(['{', '}']) => Err(TemplateError::UnbalancedBraces),
            _ => Err(TemplateError::UnknownPlaceholder(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> DistinguishedName {
        "CN=Smith\\, J.,OU=inner,OU=outer,C=DE".parse().unwrap()
    }

    #[test]
    fn placeholders_stand_for_parts_of_the_subject() {
        let rows = [
            ("{{subject-cn}}", Some("Smith, J.")),
            (
                "auth-{{subject-ou}}-{{subject-cn}}!",
                Some("auth-inner-Smith, J.!"),
            ),
            ("{{subject-cn}}{{subject-cn}}", Some("Smith, J.Smith, J.")),
            (
                "ü{{subject-dn}}",
                Some("üCN=Smith\\, J.,OU=inner,OU=outer,C=DE"),
            ),
            ("{{subject-o}}", None),
            ("{{subject-cn}}@{{subject-o}}", None),
        ];
        for (text, expected) in rows {
            let template = Template::parse(text).unwrap();
            assert_eq!(template.render(&subject()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_empty_attribute_makes_no_id() {
        let template = Template::parse("device-{{subject-cn}}").unwrap();
        assert_eq!(template.render(&"CN=,O=x".parse().unwrap()), None);
    }

    #[test]
    fn text_that_is_no_template_is_refused_with_what_is_wrong() {
        let unknown = |name: &str| TemplateError::UnknownPlaceholder(name.to_owned());
        let rows = [
            ("", TemplateError::NoPlaceholder),
            ("device", TemplateError::NoPlaceholder),
            ("{{subject-st}}", unknown("subject-st")),
            ("{{subject-cn}}{{device-id}}", unknown("device-id")),
            ("{{ subject-cn }}", unknown(" subject-cn ")),
            ("{{SUBJECT-CN}}", unknown("SUBJECT-CN")),
            ("{{}}", unknown("")),
            ("{subject-cn}", TemplateError::UnbalancedBraces),
            ("{{subject-cn", TemplateError::UnbalancedBraces),
            ("{{subject-cn}", TemplateError::UnbalancedBraces),
            ("subject-cn}}", TemplateError::UnbalancedBraces),
            ("{{subject-cn}}}", TemplateError::UnbalancedBraces),
            ("{{{subject-cn}}}", TemplateError::UnbalancedBraces),
            ("{{subject-cn}}{", TemplateError::UnbalancedBraces),
            (
                "{{subject-cn{{subject-cn}}}}",
                TemplateError::UnbalancedBraces,
            ),
        ];
        for (text, error) in rows {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn template_and_id_are_bounded() {
        let text = "x".repeat(MAX_TEMPLATE);
        assert_eq!(
            Template::parse(&format!("{text}{{{{subject-cn}}}}")),
            Err(TemplateError::TooLong)
        );
        let half: DistinguishedName = format!("CN={}", "x".repeat(MAX_RENDERED / 2))
            .parse()
            .unwrap();
        let once = Template::parse("{{subject-cn}}").unwrap();
        assert!(once.render(&half).is_some());
        let thrice = Template::parse("{{subject-cn}}{{subject-cn}}{{subject-cn}}").unwrap();
        assert_eq!(thrice.render(&half), None);
    }
}
