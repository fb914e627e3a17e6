//! The operators of one tensor that are neither convolutions nor elementwise.

use super::arena::{Arena, Slot};
use super::isa::Isa;
use super::nearest::{Nearest, nearest};
use super::pad::{Pad, pad};
use super::pool::Pool;
use super::thread_pool::ThreadPool;

/// An operator of one tensor.
#[derive(Debug)]
pub enum FeatureMapOp {
    /// Max or average pooling.
    Pool(Pool),
    /// A constant around the values.
    Pad {
        /// Where the values lie in the output.
        pad: Pad,
        /// The values.
        input: Slot,
        /// The values and the constant around them.
        output: Slot,
    },
    /// Nearest neighbour resize.
    Nearest {
        /// Where each output pixel comes from.
        resize: Nearest,
        /// `[h, w, channels]`.
        input: Slot,
        /// `[h, w, channels]`.
        output: Slot,
    },
}

impl FeatureMapOp {
    /// Input and output.
    pub(super) fn slots(&self) -> (Slot, Slot) {
        match self {
            Self::Pool(Pool { input, output, .. })
            | Self::Pad { input, output, .. }
            | Self::Nearest { input, output, .. } => (*input, *output),
        }
    }

    /// Panics where the slots do not have the sizes.
    pub(super) fn check(&self) {
        match self {
            Self::Pool(pool) => pool.check(),
            Self::Pad { pad, input, output } => pad.check(*input, *output),
            Self::Nearest {
                resize,
                input,
                output,
            } => resize.check(*input, *output),
        }
    }

    /// Bytes of scratch memory that a thread needs.
    pub(super) fn scratch_len(&self) -> usize {
        match self {
            Self::Pool(pool) => pool.scratch_len(),
            _ => 0,
        }
    }

    /// Runs the operator.
    ///
    /// # Safety
    /// [`FeatureMapOp::check`] passed; input and output lie in the arena, apart from each other, and nobody
    /// else uses the output meanwhile.
    pub(super) unsafe fn run(&self, isa: Isa, arena: &Arena, pool: &mut ThreadPool) {
        // SAFETY: the caller's promise is handed on.
        unsafe {
            match self {
                Self::Pool(pooling) => pooling.run(isa, arena, pool),
                Self::Pad {
                    pad: to,
                    input,
                    output,
                } => match to.element {
                    1 => pad::<u8>(to, arena.slice(*input), arena.slice_mut(*output)),
                    _ => pad::<f32>(to, arena.slice(*input), arena.slice_mut(*output)),
                },
                Self::Nearest {
                    resize,
                    input,
                    output,
                } => nearest(resize, arena.slice(*input), *output, arena, pool),
            }
        }
    }
}
