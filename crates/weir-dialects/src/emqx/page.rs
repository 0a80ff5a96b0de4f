//! Text 0.0.4.

use std::fmt::Write as _;

use super::Kind;

/// A page that is being written. Writing to a String cannot fail.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = kind.as_str();
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    pub(super) fn sample<'a>(
        &mut self,
        name: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        value: f64,
    ) {
        self.text.push_str(name);
        let mut separator = '{';
        for (label, value) in labels {
            self.text.push(separator);
            separator = ',';
            self.text.push_str(label);
            self.text.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = if value.is_infinite() && value > 0.0 {
            writeln!(self.text, " +Inf")
        } else {
            writeln!(self.text, " {value}")
        };
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_whole_numbers_have_no_point() {
        let mut page = Page::default();
        page.head("a", Kind::Counter, "What it is");
        page.sample("a", None, 3.0);
        page.sample("a", [("x", "1\"\\\n"), ("y", "")], 0.5);
        let expected = "# HELP a What it is\n# TYPE a counter\na 3\n\
                        a{x=\"1\\\"\\\\\\n\",y=\"\"} 0.5\n";
        assert_eq!(page.finish(), expected);
    }
}
