//! Figures that are asked for when they are scraped.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::Name;
use crate::tenants::OVERFLOW;

/// Has figures to tell at each scrape.
///
/// It is asked outside of the threads that carry messages, but may not wait: what takes time to find
/// out it has to find out before.
pub trait Source: Debug + Send + Sync {
    /// The families it has figures for, all of them [collected](Name::is_collected).
    fn families(&self) -> &'static [Name];

    /// Tells what they are now.
    fn collect(&self, figures: &mut Figures);
}

/// The values of a series' labels.
pub(crate) type LabelValues = Box<[Box<str>]>;

/// Figures that have been told.
#[derive(Debug)]
pub struct Figures {
    values: BTreeMap<Name, BTreeMap<LabelValues, f64>>,
    /// Of each family, tenants that may have series of their own.
    max_tenants: usize,
    /// Tenants that have them.
    tenants: BTreeMap<Name, usize>,
    /// What the source that is being asked may tell.
    allowed: &'static [Name],
}

impl Figures {
    pub(crate) fn new(max_tenants: usize) -> Self {
        Self {
            values: BTreeMap::new(),
            max_tenants,
            tenants: BTreeMap::new(),
            allowed: &[],
        }
    }

    pub(crate) fn ask(&mut self, source: &dyn Source) {
        self.allowed = source.families();
        source.collect(self);
        self.allowed = &[];
    }

    /// Tells a series' value, with a value for each of [`Name::labels`]. Of families that the source has
    /// not named nothing is taken.
    ///
    /// Tenants beyond the limit become one: name them in a stable order, so that it is always the same
    /// ones. What is told twice is added up; of ages the largest counts.
    pub fn tell(&mut self, name: Name, labels: &[&str], value: f64) {
        let is_right = self.allowed.contains(&name)
            && name.is_collected()
            && name.labels().len() == labels.len();
        debug_assert!(is_right, "{name:?} {labels:?}");
        if is_right {
            self.set(name, labels, value);
        }
    }

    pub(crate) fn set(&mut self, name: Name, labels: &[&str], value: f64) {
        let mut labels: LabelValues = labels.iter().map(|value| Box::from(*value)).collect();
        let series = self.values.entry(name).or_default();
        if let (Some(&"tenant"), false) = (name.labels().first(), series.contains_key(&labels)) {
            let tenants = self.tenants.entry(name).or_default();
            // Series of one tenant follow each other in their order.
            let from: LabelValues = Box::new([labels[0].clone()]);
            let next = series.range(from..).next();
            let is_known = next.is_some_and(|(known, _)| known[0] == labels[0]);
            if !is_known && *tenants >= self.max_tenants {
                labels[0] = OVERFLOW.into();
            } else if !is_known {
                *tenants += 1;
            }
        }
        let place = series.entry(labels);
        place
            .and_modify(|known| match name.is_folded_to_largest() {
                true => *known = known.max(value),
                false => *known += value,
            })
            .or_insert(value);
    }

    /// The series of a family, in the order of their labels.
    pub fn of(&self, name: Name) -> impl Iterator<Item = (&[Box<str>], f64)> {
        let series = self.values.get(&name).into_iter().flatten();
        series.map(|(labels, value)| (&**labels, *value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(figures: &Figures, name: Name) -> Vec<(String, f64)> {
        let row = |(labels, value): (&[Box<str>], f64)| (labels.join("/"), value);
        figures.of(name).map(row).collect()
    }

    #[test]
    fn tenants_beyond_the_limit_become_one() {
        let mut figures = Figures::new(2);
        for (tenant, kind, value) in [
            ("a", "telemetry", 1.0),
            ("b", "event", 2.0),
            ("c", "event", 3.0),
            ("a", "event", 4.0),
            ("d", "event", 5.0),
        ] {
            figures.set(Name::ConsumerCredit, &[tenant, kind], value);
        }
        let expected = [
            ("OVERFLOW/event", 8.0),
            ("a/event", 4.0),
            ("a/telemetry", 1.0),
            ("b/event", 2.0),
        ];
        let expected = expected.map(|(labels, value)| (labels.to_owned(), value));
        assert_eq!(told(&figures, Name::ConsumerCredit), expected);
    }

    #[test]
    fn of_ages_the_largest_counts() {
        let mut figures = Figures::new(0);
        for age in [3.0, 7.0, 5.0] {
            figures.set(Name::EventsOldestAge, &["any"], age);
        }
        let expected = [("OVERFLOW".to_owned(), 7.0)];
        assert_eq!(told(&figures, Name::EventsOldestAge), expected);
    }
}
