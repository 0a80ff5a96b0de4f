//! Serial numbers [RFC 1982], as deliveries, transfers and link credit count.
//!
//! All arithmetic that wraps lives here and in [`ring`](crate::ring), nowhere else.

/// A number of a sequence that wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Serial(pub(crate) u32);

impl Serial {
    #[inline]
    pub(crate) fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// How far `self` is ahead of `other`; negative when it is behind.
    #[inline]
    pub(crate) fn ahead_of(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// How many steps lead from `other` to `self`; none when it is behind.
    #[inline]
    pub(crate) fn steps_from(self, other: Self) -> u32 {
        u32::try_from(self.ahead_of(other)).unwrap_or(0)
    }

    #[inline]
    pub(crate) fn advance(&mut self) {
        *self = self.plus(1);
    }
}
