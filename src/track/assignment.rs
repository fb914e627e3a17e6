//! Linear assignment (Hungarian method).

/// Assigns rows to columns so that the sum of `cost - limit` over all pairs is minimal; pairs that
/// cost `limit` or more are never made. `costs` is row-major. Returns the column of each row.
///
/// The Hungarian method by shortest augmenting paths with potentials (Jonker and Volgenant, 1987),
/// O(n^3) with n the greater side.
///
/// # Panics
/// When `costs` has not `rows * columns` entries.
pub fn linear_assignment(
    costs: &[f64],
    rows: usize,
    columns: usize,
    limit: f64,
) -> Vec<Option<usize>> {
    assert_eq!(costs.len(), rows * columns, "a cost for each pair");
    // A square problem: unassigned costs 0, a pair `cost - limit`.
    let n = rows.max(columns);
    let saved = |row: usize, column: usize| {
        if row < rows && column < columns {
            (costs[row * columns + column] - limit).min(0.0)
        } else {
            0.0
        }
    };
    // Indices from 1; column 0 is the start of each path.
    let (mut row_potential, mut column_potential) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    let mut row_of = vec![0_usize; n + 1];
    let mut from = vec![0_usize; n + 1];
    let mut shortest = vec![0.0; n + 1];
    let mut done = vec![false; n + 1];
    for row in 1..=n {
        row_of[0] = row;
        shortest.fill(f64::INFINITY);
        done.fill(false);
        let mut column = 0;
        loop {
            done[column] = true;
            let at = row_of[column];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for other in 1..=n {
                if done[other] {
                    continue;
                }
                let reduced =
                    saved(at - 1, other - 1) - row_potential[at] - column_potential[other];
                if reduced < shortest[other] {
                    shortest[other] = reduced;
                    from[other] = column;
                }
                if shortest[other] < step {
                    step = shortest[other];
                    next = other;
                }
            }
            for other in 0..=n {
                if done[other] {
                    row_potential[row_of[other]] += step;
                    column_potential[other] -= step;
                } else {
                    shortest[other] -= step;
                }
            }
            column = next;
            if row_of[column] == 0 {
                break;
            }
        }
        while column != 0 {
            row_of[column] = row_of[from[column]];
            column = from[column];
        }
    }
    let mut pairs = vec![None; rows];
    for column in 0..columns {
        let row = row_of[column + 1] - 1;
        if row < rows && costs[row * columns + column] < limit {
            pairs[row] = Some(column);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The minimal sum of `cost - limit`, by exhaustive search.
    fn least(costs: &[f64], columns: usize, limit: f64, taken: &mut Vec<bool>, row: usize) -> f64 {
        if (row + 1) * columns > costs.len() {
            return 0.0;
        }
        let mut best = least(costs, columns, limit, taken, row + 1);
        for column in 0..columns {
            let cost = costs[row * columns + column];
            if !taken[column] && cost < limit {
                taken[column] = true;
                best = best.min(cost - limit + least(costs, columns, limit, taken, row + 1));
                taken[column] = false;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn equals_exhaustive_search(
            (rows, columns) in (0_usize..8, 1_usize..8),
            numbers in prop::collection::vec(0_u8..30, 49),
            limit in 1_u8..32,
        ) {
            let costs: Vec<f64> = numbers[..rows * columns].iter().map(|n| f64::from(*n)).collect();
            let limit = f64::from(limit);
            let pairs = linear_assignment(&costs, rows, columns, limit);
            let mut taken = vec![false; columns];
            let mut sum = 0.0;
            for (row, column) in pairs.iter().enumerate() {
                if let Some(column) = *column {
                    prop_assert!(!taken[column], "a column has two rows");
                    taken[column] = true;
                    prop_assert!(costs[row * columns + column] < limit);
                    sum += costs[row * columns + column] - limit;
                }
            }
            let best = least(&costs, columns, limit, &mut vec![false; columns], 0);
            prop_assert!((sum - best).abs() < 1e-9, "{sum}, not {best}");
        }
    }

    #[test]
    fn nothing_is_assigned_to_nothing() {
        assert_eq!(linear_assignment(&[], 0, 0, 1.0), []);
        assert_eq!(linear_assignment(&[], 2, 0, 1.0), [None, None]);
    }
}
