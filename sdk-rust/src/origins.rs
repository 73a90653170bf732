//! What the records that a stage makes come from. One made from each, in order, is what most stages do: it is kept
//! as a number, and a list begins with the first record that breaks the row.

use crate::bindings::types::outcomes;

/// The origins of what was made for one port, in the order in which it was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct OriginsBuilder {
    /// How many there are while there is no list: they are `0..count`.
    count: u32,
    list: Option<Vec<u32>>,
    /// How many of the list are known to ascend.
    ascending: usize,
}

impl OriginsBuilder {
    /// The first of `count` that were made at once: those of `list`, which ascends, or else `0..count`.
    pub(crate) fn of(count: u32, list: Option<Vec<u32>>) -> Self {
        let ascending = list.as_ref().map_or(0, Vec::len);
        OriginsBuilder { count, list, ascending }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, origin: u32) {
        match &mut self.list {
            None if origin == self.count => self.count += 1,
            None => self.begin(origin),
            Some(list) => list.push(origin),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.as_ref().map_or(self.count as usize, Vec::len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let list = self.list.as_deref().unwrap_or_default();
        let counted = if self.list.is_some() { 0 } else { self.count };
        (0..counted).chain(list.iter().copied())
    }

    /// Puts them in order. Where each that was made is to be taken from for that; none where they ascend already.
    pub(crate) fn sort(&mut self) -> Option<Vec<usize>> {
        let list = self.list.as_mut()?;
        if self.ascending == list.len() || list.is_sorted() {
            return None;
        }
        let order = order_of(list);
        list.sort_unstable();
        Some(order)
    }

    /// The shortest way to say them, of a batch of `rows`.
    pub(crate) fn finish(self, rows: u32) -> outcomes::Origins {
        match self.list {
            Some(list) => outcomes::Origins::These(list),
            None if self.count == rows => outcomes::Origins::Each,
            None => outcomes::Origins::These((0..self.count).collect()),
        }
    }

    #[cold]
    #[inline(never)]
    fn begin(&mut self, origin: u32) {
        let mut list = Vec::with_capacity(2 * (self.count as usize + 8));
        list.extend(0..self.count);
        list.push(origin);
        self.list = Some(list);
    }
}

/// Where each value is to be taken from so that they ascend; equal ones keep their order.
pub(crate) fn order_of(values: &[u32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|index| values[*index]);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_is_no_list_and_all_else_is() {
        let these = |list: &[u32]| outcomes::Origins::These(list.to_vec());
        let cases: [(&[u32], u32, outcomes::Origins); 8] = [
            (&[0, 1, 2], 3, outcomes::Origins::Each),
            (&[0, 1, 2], 4, these(&[0, 1, 2])),
            (&[0, 2, 3], 4, these(&[0, 2, 3])),
            (&[1, 2], 3, these(&[1, 2])),
            (&[0, 0, 1], 2, these(&[0, 0, 1])),
            (&[0, 1, 2, 2], 3, these(&[0, 1, 2, 2])),
            (&[2, 0, 1], 3, these(&[0, 1, 2])),
            (&[], 2, these(&[])),
        ];
        for (pushed, rows, expected) in cases {
            let mut origins = OriginsBuilder::default();
            pushed.iter().for_each(|origin| origins.push(*origin));
            assert_eq!((origins.len(), origins.iter().collect::<Vec<_>>()), (pushed.len(), pushed.to_vec()));
            let order = origins.sort();
            assert_eq!(order.is_some(), !pushed.is_sorted(), "{pushed:?}");
            assert_eq!(origins.finish(rows), expected, "{pushed:?} of {rows}");
        }
    }

    #[test]
    fn equal_origins_keep_their_order() {
        let mut origins = OriginsBuilder::default();
        [1, 0, 1, 0].into_iter().for_each(|origin| origins.push(origin));
        assert_eq!(origins.sort(), Some(vec![1, 3, 0, 2]));
    }
}
