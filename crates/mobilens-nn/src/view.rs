//! Views: values that lie in the memory of other values, by strides. Transposes, reshapes and slices are views
//! until somebody needs their values in one piece.

/// A run of indices of an axis and the distance of neighbours, in values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digit {
    pub size: usize,
    pub stride: usize,
}

/// A value as a part of an allocation. An axis is made of one or several digits, the outermost first, as hours
/// and minutes make a time: a reshape that merges two axes that do not lie in a row leaves two digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub allocation: usize,
    /// First value.
    pub offset: usize,
    pub axes: Vec<Vec<Digit>>,
}

/// Digits without those of size 1, neighbours that lie in a row as one.
fn merged(digits: impl IntoIterator<Item = Digit>) -> Vec<Digit> {
    let mut merged: Vec<Digit> = Vec::new();
    for digit in digits.into_iter().filter(|digit| digit.size != 1) {
        match merged.last_mut() {
            Some(outer) if outer.stride == digit.size * digit.stride => {
                outer.size *= digit.size;
                outer.stride = digit.stride;
            }
            _ => merged.push(digit),
        }
    }
    merged
}

impl View {
    /// The value of `shape` that fills an allocation with its axes in `order`, outermost first.
    pub(super) fn of(allocation: usize, shape: &[usize], order: &[usize]) -> Self {
        let mut axes = vec![Vec::new(); shape.len()];
        let mut stride = 1;
        for axis in order.iter().rev() {
            let size = shape[*axis];
            axes[*axis] = vec![Digit { size, stride }];
            stride *= size;
        }
        Self {
            allocation,
            offset: 0,
            axes,
        }
    }

    /// Axis `i` becomes axis `order[i]` of this view.
    pub(super) fn transposed(&self, order: &[usize]) -> Self {
        Self {
            axes: order.iter().map(|axis| self.axes[*axis].clone()).collect(),
            ..self.clone()
        }
    }

    /// The same values in the same order as `shape`; nothing where an axis of it would be cut from digits that do
    /// not divide.
    pub(super) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let mut digits = merged(self.axes.iter().flatten().copied()).into_iter();
        let mut next = digits.next();
        let mut axes = Vec::with_capacity(shape.len());
        for size in shape {
            let (mut left, mut axis) = (*size, Vec::new());
            while left > 1 {
                let digit = next?;
                if left.is_multiple_of(digit.size) {
                    axis.push(digit);
                    left /= digit.size;
                    next = digits.next();
                } else if digit.size.is_multiple_of(left) {
                    let inner = digit.size / left;
                    axis.push(Digit {
                        size: left,
                        stride: digit.stride * inner,
                    });
                    next = Some(Digit {
                        size: inner,
                        stride: digit.stride,
                    });
                    left = 1;
                } else {
                    return None;
                }
            }
            axes.push(axis);
        }
        next.is_none().then(|| Self {
            axes,
            ..self.clone()
        })
    }

    /// `len` indices of an axis from `start` on, every `step`th; nothing where they are no run of one digit.
    pub(super) fn sliced(
        &self,
        axis: usize,
        start: usize,
        len: usize,
        step: usize,
    ) -> Option<Self> {
        let digits = merged(self.axes[axis].iter().copied());
        let inner: usize = digits.iter().skip(1).map(|digit| digit.size).product();
        let whole = step == 1 && start.is_multiple_of(inner) && len.is_multiple_of(inner);
        if digits.len() > 1 && !whole {
            return None;
        }
        let mut view = self.clone();
        let Some(first) = digits.first() else {
            // An axis of one index.
            return (start == 0 && len == 1).then_some(view);
        };
        view.offset += start / inner * first.stride;
        view.axes[axis] = digits.clone();
        view.axes[axis][0] = Digit {
            size: len / inner,
            stride: first.stride * step,
        };
        Some(view)
    }

    /// The axis as one digit, if it is one.
    pub(super) fn digit(&self, axis: usize) -> Option<Digit> {
        match merged(self.axes[axis].iter().copied())[..] {
            [] => Some(Digit { size: 1, stride: 0 }),
            [digit] => Some(digit),
            _ => None,
        }
    }

    /// All digits, with the axes in `order`.
    pub(super) fn digits(&self, order: &[usize]) -> Vec<Digit> {
        merged(
            order
                .iter()
                .flat_map(|axis| self.axes[*axis].iter().copied()),
        )
    }

    /// Whether the values lie in one piece with the axes in `order`.
    pub(super) fn is_contiguous(&self, order: &[usize]) -> bool {
        matches!(self.digits(order)[..], [] | [Digit { stride: 1, .. }])
    }

    /// Values from the first to the last, both counted.
    pub(super) fn span(&self) -> usize {
        let digits = self.axes.iter().flatten();
        1 + digits
            .map(|digit| (digit.size - 1) * digit.stride)
            .sum::<usize>()
    }

    /// The order of the axes in memory, outermost first, where each is one digit; else that of the file.
    pub(super) fn natural_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.axes.len()).collect();
        let strides: Option<Vec<usize>> = (0..self.axes.len())
            .map(|axis| {
                self.digit(axis)
                    .map(|digit| if digit.size == 1 { 0 } else { digit.stride })
            })
            .collect();
        if let Some(strides) = strides {
            // Axes of size 1 stay where they are in the file's order: before the next larger stride.
            order.sort_by_key(|axis| std::cmp::Reverse(strides[*axis]));
        }
        order
    }

    /// Where each index of the leading axes begins, from the first value of the allocation, in the order of the
    /// file; an axis of size 1 is broadcast to the size in `shape`.
    pub(super) fn starts(&self, shape: &[usize]) -> Vec<usize> {
        let mut starts = vec![self.offset];
        for (axis, size) in shape.iter().enumerate() {
            let mut offsets = vec![0];
            for digit in &self.axes[axis] {
                offsets = offsets
                    .iter()
                    .flat_map(|offset| (0..digit.size).map(move |i| offset + i * digit.stride))
                    .collect();
            }
            if offsets.len() == 1 {
                offsets = vec![offsets[0]; *size];
            }
            starts = starts
                .iter()
                .flat_map(|start| offsets.iter().map(move |offset| start + offset))
                .collect();
        }
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::View;

    /// The values of a view of an allocation that holds 0, 1, 2 ..., in the order of the file.
    fn values(view: &View) -> Vec<usize> {
        let sizes: Vec<usize> = (0..view.axes.len())
            .map(|axis| view.axes[axis].iter().map(|digit| digit.size).product())
            .collect();
        view.starts(&sizes)
    }

    #[test]
    fn mobilevits_patches_are_a_view_of_the_feature_map() {
        // [1, c, h, w] in NHWC, cut in patches of 2x2: [4 pixels, patches, c].
        let map = View::of(0, &[1, 3, 4, 6], &[0, 2, 3, 1]);
        let view = map.reshaped(&[6, 2, 3, 2]).expect("divides");
        let view = view.transposed(&[0, 2, 1, 3]).reshaped(&[1, 3, 6, 4]);
        let view = view.expect("digits divide").transposed(&[0, 3, 2, 1]);
        let view = view.reshaped(&[4, 6, 3]).expect("digits divide");
        let mut expected = Vec::new();
        for pixel in 0..4 {
            for patch in 0..6 {
                for channel in 0..3 {
                    let (y, x) = (patch / 3 * 2 + pixel / 2, patch % 3 * 2 + pixel % 2);
                    expected.push((y * 6 + x) * 3 + channel);
                }
            }
        }
        assert_eq!(values(&view), expected);
        assert!(!view.is_contiguous(&[0, 1, 2]));
    }

    #[test]
    fn a_part_of_heads_is_a_view() {
        let qkv = View::of(0, &[2, 5, 24], &[0, 1, 2]);
        let heads = qkv.reshaped(&[2, 5, 3, 2, 4]).expect("divides");
        let keys = heads
            .transposed(&[2, 0, 3, 1, 4])
            .sliced(0, 1, 1, 1)
            .expect("one digit");
        let keys = keys.reshaped(&[2, 2, 5, 4]).expect("divides");
        let at = |b: usize, h: usize, token: usize, d: usize| (b * 5 + token) * 24 + 8 + h * 4 + d;
        let expected: Vec<usize> = (0..80)
            .map(|i| at(i / 40, i / 20 % 2, i / 4 % 5, i % 4))
            .collect();
        assert_eq!(values(&keys), expected);
        assert_eq!(keys.span(), at(1, 1, 4, 3) - at(0, 0, 0, 0) + 1);
    }

    #[test]
    fn what_does_not_divide_is_no_view() {
        let view = View::of(0, &[4, 6], &[1, 0]);
        assert_eq!(view.reshaped(&[3, 8]), None);
        assert!(View::of(0, &[4, 6], &[0, 1]).reshaped(&[3, 8]).is_some());
    }
}
