//! Values under small numbers that are used again, with generations so that a stale id finds nothing.

#[derive(Debug)]
pub(crate) struct Slab<V> {
    entries: Vec<Entry<V>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<V> {
    generation: u32,
    value: Option<V>,
}

impl<V> Slab<V> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Puts in what `make` builds from its index and generation.
    pub(crate) fn insert(&mut self, make: impl FnOnce(u32, u32) -> V) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                value: None,
            });
            // Bounded by channel-max times handle-max, far below 2^32.
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        entry.value = Some(make(index, entry.generation));
        index
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<V> {
        let entry = self.entries.get_mut(index as usize)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&V> {
        self.entries.get(index as usize)?.value.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut V> {
        self.entries.get_mut(index as usize)?.value.as_mut()
    }

    /// The index again, if that generation of it is still there.
    #[inline]
    pub(crate) fn find(&self, index: u32, generation: u32) -> Option<u32> {
        let entry = self.entries.get(index as usize)?;
        (entry.generation == generation && entry.value.is_some()).then_some(index)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        (0_u32..)
            .zip(&self.entries)
            .filter_map(|(index, entry)| Some((index, entry.value.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut V)> {
        (0_u32..)
            .zip(&mut self.entries)
            .filter_map(|(index, entry)| Some((index, entry.value.as_mut()?)))
    }

    pub(crate) fn clear(&mut self) {
        for index in 0..self.entries.len() as u32 {
            self.remove(index);
        }
    }
}
