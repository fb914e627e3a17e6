//! Int8 depthwise kernels, written once over the width of a register and the instruction that
//! adds four products to each 32-bit lane.

use super::depthwise_int8::MAX_TAPS;
use super::requantize::{CodeFunction, CodeRange};

/// The epilogue as a parameter of the kernels: all codes, with zero as the zero point.
pub(super) const WHOLE: u8 = 0;
/// A zero point or limits.
pub(super) const LIMITED: u8 = 1;
/// A function.
pub(super) const FUNCTION: u8 = 2;

/// Where one output row of a 3x3 kernel reads and writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlideRow {
    /// The rows of the input; null outside.
    pub taps: [*const u8; 3],
    /// First code of the output row.
    pub output: *mut u8,
}

impl Default for SlideRow {
    fn default() -> Self {
        Self {
            taps: [std::ptr::null(); 3],
            output: std::ptr::null_mut(),
        }
    }
}

/// Some output rows of a 3x3 kernel, in one dilation phase.
///
/// # Safety
/// The kernels rely on this: each column of `inside` is readable in each row that is not null, each
/// output writable, for the channels of the block, and nobody else uses them meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slide<'a> {
    pub rows: &'a [SlideRow],
    /// Zero points, for as many channels as a block has.
    pub constant: *const u8,
    /// Bytes from the start of an input row to column 0, the left tap of output 0; may be negative.
    pub column: usize,
    /// Bytes from one column to the next.
    pub column_stride: usize,
    /// The first column that lies inside the input, and the number of those that do.
    pub inside: (usize, usize),
    /// Bytes from the start of an output row to output 0.
    pub output: usize,
    /// Bytes from one output to the next.
    pub output_stride: usize,
    /// Outputs in a row.
    pub outputs: usize,
    /// Columns from one output to the next, 1 or 2.
    pub stride: usize,
}

/// As many channels as one register holds, and their constants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Bias, multipliers and groups of weights, four registers each.
    pub registers: *const u8,
    /// Bytes from one register to the next.
    pub register_stride: usize,
    /// The first channel.
    pub channel: usize,
    /// Channels that exist.
    pub channels: usize,
    /// Whether two products may leave an `i16`.
    pub saturates: bool,
    pub function: CodeFunction,
    pub range: CodeRange,
}

impl Part {
    /// Which epilogue it has.
    #[inline]
    pub fn kind(&self) -> u8 {
        let whole = CodeRange {
            zero_point: 0,
            low: 0,
            high: u8::MAX,
        };
        match self.function {
            CodeFunction::None if self.range == whole => WHOLE,
            CodeFunction::None => LIMITED,
            _ => FUNCTION,
        }
    }
}

/// Parts of the same kind in consecutive blocks, whose channels are [`BLOCK_INT8`] apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub kernel: WindowKernel,
    pub first: Part,
    /// Their number.
    pub count: usize,
    /// Bytes from one block's constants to the next's.
    pub block_bytes: usize,
    /// Groups of four taps.
    pub groups: usize,
}

/// Computes the rows for one part.
///
/// # Safety
/// As [`Slide`]; the CPU supports the kernel's instruction set.
pub(super) type SlideKernel = unsafe fn(&Part, &Slide<'_>);

/// Some neighbouring output pixels.
///
/// # Safety
/// The kernels rely on this: the taps are readable and the outputs writable for the channels of the
/// call, and nobody else uses the outputs meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pixels<'a> {
    /// The taps of the first.
    pub taps: &'a [*const u8; MAX_TAPS],
    /// Bytes from each tap to that of the next pixel; 0 where it is outside.
    pub steps: &'a [usize; MAX_TAPS],
    /// The first output.
    pub output: *mut u8,
    /// Bytes from one output to the next.
    pub output_step: usize,
    /// Their number.
    pub count: usize,
}

/// Computes some neighbouring output pixels.
///
/// # Safety
/// As [`Pixels`]; the CPU supports the kernel's instruction set.
pub(super) type WindowKernel = unsafe fn(&Run, &Pixels<'_>);

/// One output row: the first column of each of its input rows and the step to the next column, and
/// output 0.
pub(super) struct Row {
    pub taps: [(*const u8, usize); 3],
    pub output: *mut u8,
}

impl Row {
    #[inline(always)]
    pub fn new(part: &Part, args: &Slide<'_>, row: &SlideRow) -> Self {
        let at = args.column.wrapping_add(part.channel);
        let mut taps = [(args.constant, 0); 3];
        for (slot, tap) in taps.iter_mut().zip(row.taps) {
            if !tap.is_null() {
                *slot = (tap.wrapping_add(at), args.column_stride);
            }
        }
        Self {
            taps,
            output: row.output.wrapping_add(args.output + part.channel),
        }
    }
}

/// The kernels over registers of one width. The names of the operations are those that the module
/// around imports; `load` and `store` move `channels` bytes, `dot` adds the products of four codes
/// and four weights to each sum, with `EXACT` where two products may leave an `i16`.
macro_rules! depthwise_int8_kernels {
    (
        $(#[$feature:meta])*
        can_saturate: $can_saturate:literal
    ) => {
        /// Zero point and limits of the output in each lane.
        struct Limits {
            zero: Int,
            low: Int,
            high: Int,
        }

        $(#[$feature])*
        #[inline]
        fn limits(part: &Part) -> Limits {
            let CodeRange { zero_point, low, high } = part.range;
            Limits {
                zero: broadcast_16(i16::from(zero_point)),
                low: broadcast_8(low as i8),
                high: broadcast_8(high as i8),
            }
        }

        /// Four registers of constants, of weights for example.
        ///
        /// # Safety
        /// As [`Part`].
        $(#[$feature])*
        #[inline]
        unsafe fn constants(part: &Part, registers: *const u8, section: usize) -> [Int; 4] {
            let at = registers.wrapping_add(section * 4 * part.register_stride);
            // SAFETY: a section of the block's constants.
            unsafe {
                [
                    load_all(at),
                    load_all(at.wrapping_add(part.register_stride)),
                    load_all(at.wrapping_add(2 * part.register_stride)),
                    load_all(at.wrapping_add(3 * part.register_stride)),
                ]
            }
        }

        /// The four taps of each channel side by side.
        $(#[$feature])*
        #[inline]
        fn interleave(a: Int, b: Int, c: Int, d: Int) -> [Int; 4] {
            let (ab, cd) = (unpack_low_8(a, b), unpack_low_8(c, d));
            let (ab_high, cd_high) = (unpack_high_8(a, b), unpack_high_8(c, d));
            [
                unpack_low_16(ab, cd),
                unpack_high_16(ab, cd),
                unpack_low_16(ab_high, cd_high),
                unpack_high_16(ab_high, cd_high),
            ]
        }

        $(#[$feature])*
        #[inline]
        fn activate(x: Float, function: CodeFunction) -> Float {
            let shifted = add_float(x, broadcast_float(3.0));
            let clamped = min_float(max_float(shifted, broadcast_float(0.0)), broadcast_float(6.0));
            let sigmoid = mul_float(clamped, broadcast_float(1.0 / 6.0));
            match function {
                CodeFunction::None => x,
                CodeFunction::HardSwish { inverse_scale } => {
                    mul_float(mul_float(x, sigmoid), broadcast_float(inverse_scale))
                }
                CodeFunction::HardSigmoid { inverse_scale } => {
                    mul_float(sigmoid, broadcast_float(inverse_scale))
                }
            }
        }

        /// The codes of the sums, in the order of the channels.
        $(#[$feature])*
        #[inline]
        fn codes<const KIND: u8>(
            sums: [Int; 4],
            multipliers: &[Int; 4],
            part: &Part,
            limits: &Limits,
        ) -> Int {
            let mut codes = sums;
            unrolled!([0 1 2 3] J < 4, {
                let mut value = mul_float(to_float(sums[J]), as_float(multipliers[J]));
                if KIND == FUNCTION {
                    value = activate(value, part.function);
                }
                codes[J] = to_int(value);
            });
            let (low, high) = (pack_32(codes[0], codes[1]), pack_32(codes[2], codes[3]));
            if KIND == WHOLE {
                return pack_16(low, high);
            }
            let low = add_saturating_16(low, limits.zero);
            let high = add_saturating_16(high, limits.zero);
            min_8(max_8(pack_16(low, high), limits.low), limits.high)
        }

        /// # Safety
        /// As [`Slide`].
        $(#[$feature])*
        pub(super) unsafe fn slide(part: &Part, args: &Slide<'_>) {
            // SAFETY: the caller's promise is handed on.
            unsafe {
                match (part.kind(), part.saturates) {
                    (WHOLE, false) => slide_rows::<WHOLE, false>(part, args),
                    (WHOLE, true) => slide_rows::<WHOLE, $can_saturate>(part, args),
                    (LIMITED, false) => slide_rows::<LIMITED, false>(part, args),
                    (LIMITED, true) => slide_rows::<LIMITED, $can_saturate>(part, args),
                    _ => slide_rows::<FUNCTION, $can_saturate>(part, args),
                }
            }
        }

        /// # Safety
        /// As [`Slide`].
        $(#[$feature])*
        unsafe fn slide_rows<const KIND: u8, const EXACT: bool>(part: &Part, args: &Slide<'_>) {
            for row in args.rows {
                let row = &Row::new(part, args, row);
                // SAFETY: the caller's promise is handed on.
                unsafe {
                    if args.stride == 1 {
                        slide1::<KIND, EXACT>(part, args, row);
                    } else {
                        slide2::<KIND, EXACT>(part, args, row);
                    }
                }
            }
        }

        /// Column `i` of three rows, the taps of each channel side by side, the middle one twice.
        ///
        /// # Safety
        /// As [`Slide`].
        $(#[$feature])*
        #[inline]
        unsafe fn column(part: &Part, args: &Slide<'_>, row: &Row, i: usize) -> [Int; 4] {
            let inside = i.wrapping_sub(args.inside.0) < args.inside.1;
            let mut values = [broadcast_8(0); 3];
            unrolled!([0 1 2] K < 3, {
                let (tap, step) = row.taps[K];
                let at = tap.wrapping_add(i.wrapping_mul(step));
                let at = if inside { at } else { args.constant };
                // SAFETY: the channels of a pixel inside, or zero points.
                values[K] = unsafe { load(at, part.channels) };
            });
            interleave(values[0], values[1], values[2], values[1])
        }

        /// One row at stride 1.
        ///
        /// # Safety
        /// As [`Slide`].
        $(#[$feature])*
        #[inline]
        unsafe fn slide1<const KIND: u8, const EXACT: bool>(
            part: &Part,
            args: &Slide<'_>,
            row: &Row,
        ) {
            // SAFETY: columns of the rows, or zero points; outputs of the row.
            unsafe {
                let bias = constants(part, part.registers, 0);
                let multipliers = constants(part, part.registers, 1);
                let left = constants(part, part.registers, CONSTANTS);
                let middle = constants(part, part.registers, CONSTANTS + 1);
                let right = constants(part, part.registers, CONSTANTS + 2);
                let limits = limits(part);
                // The sums of this output, of which the right column lacks, and of the next.
                let (mut sums, mut next) = (bias, bias);
                let values = column(part, args, row, 0);
                unrolled!([0 1 2 3] J < 4, {
                    sums[J] = dot::<EXACT>(bias[J], values[J], left[J]);
                });
                let values = column(part, args, row, 1);
                unrolled!([0 1 2 3] J < 4, {
                    sums[J] = dot::<EXACT>(sums[J], values[J], middle[J]);
                    next[J] = dot::<EXACT>(bias[J], values[J], left[J]);
                });
                let mut output = row.output;
                for x in 0..args.outputs {
                    let values = column(part, args, row, x + 2);
                    let mut after = bias;
                    unrolled!([0 1 2 3] J < 4, {
                        sums[J] = dot::<EXACT>(sums[J], values[J], right[J]);
                        next[J] = dot::<EXACT>(next[J], values[J], middle[J]);
                        after[J] = dot::<EXACT>(after[J], values[J], left[J]);
                    });
                    let codes = codes::<KIND>(sums, &multipliers, part, &limits);
                    store(output, codes, part.channels);
                    output = output.wrapping_add(args.output_stride);
                    (sums, next) = (next, after);
                }
            }
        }

        /// One row at stride 2.
        ///
        /// # Safety
        /// As [`Slide`].
        $(#[$feature])*
        #[inline]
        unsafe fn slide2<const KIND: u8, const EXACT: bool>(
            part: &Part,
            args: &Slide<'_>,
            row: &Row,
        ) {
            // SAFETY: columns of the rows, or zero points; outputs of the row.
            unsafe {
                let bias = constants(part, part.registers, 0);
                let multipliers = constants(part, part.registers, 1);
                let left = constants(part, part.registers, CONSTANTS);
                let middle = constants(part, part.registers, CONSTANTS + 1);
                let right = constants(part, part.registers, CONSTANTS + 2);
                let limits = limits(part);
                let mut sums = bias;
                let values = column(part, args, row, 0);
                unrolled!([0 1 2 3] J < 4, {
                    sums[J] = dot::<EXACT>(bias[J], values[J], left[J]);
                });
                let mut output = row.output;
                for x in 0..args.outputs {
                    let values = column(part, args, row, 2 * x + 1);
                    unrolled!([0 1 2 3] J < 4, {
                        sums[J] = dot::<EXACT>(sums[J], values[J], middle[J]);
                    });
                    let values = column(part, args, row, 2 * x + 2);
                    let mut next = bias;
                    unrolled!([0 1 2 3] J < 4, {
                        sums[J] = dot::<EXACT>(sums[J], values[J], right[J]);
                        next[J] = dot::<EXACT>(next[J], values[J], left[J]);
                    });
                    let codes = codes::<KIND>(sums, &multipliers, part, &limits);
                    store(output, codes, part.channels);
                    output = output.wrapping_add(args.output_stride);
                    sums = next;
                }
            }
        }

        /// # Safety
        /// As [`Pixels`].
        $(#[$feature])*
        pub(super) unsafe fn window(run: &Run, pixels: &Pixels<'_>) {
            // SAFETY: the caller's promise is handed on.
            unsafe {
                match run.first.kind() {
                    WHOLE => window_pixels::<WHOLE>(run, pixels),
                    LIMITED => window_pixels::<LIMITED>(run, pixels),
                    _ => window_pixels::<FUNCTION>(run, pixels),
                }
            }
        }

        /// # Safety
        /// As [`Pixels`].
        $(#[$feature])*
        unsafe fn window_pixels<const KIND: u8>(run: &Run, pixels: &Pixels<'_>) {
            let part = &run.first;
            let limits = limits(part);
            let mut taps = *pixels.taps;
            let taps = &mut taps[..run.groups * GROUP_TAPS];
            let mut output = pixels.output;
            // All channels of a pixel, which lie side by side, before the next pixel.
            for _ in 0..pixels.count {
                for index in 0..run.count {
                    let registers = part.registers.wrapping_add(index * run.block_bytes);
                    let at = part.channel + index * BLOCK_INT8;
                    // SAFETY: the channels of the taps and the output, and this block's constants.
                    unsafe {
                        let mut sums = constants(part, registers, 0);
                        for (group, taps) in taps.chunks_exact(GROUP_TAPS).enumerate() {
                            let values = interleave(
                                load(taps[0].wrapping_add(at), part.channels),
                                load(taps[1].wrapping_add(at), part.channels),
                                load(taps[2].wrapping_add(at), part.channels),
                                load(taps[3].wrapping_add(at), part.channels),
                            );
                            let weights = constants(part, registers, CONSTANTS + group);
                            unrolled!([0 1 2 3] J < 4, {
                                sums[J] = dot::<$can_saturate>(sums[J], values[J], weights[J]);
                            });
                        }
                        let multipliers = constants(part, registers, 1);
                        let codes = codes::<KIND>(sums, &multipliers, part, &limits);
                        store(output.wrapping_add(at), codes, part.channels);
                    }
                }
                for (tap, step) in taps.iter_mut().zip(pixels.steps) {
                    *tap = tap.wrapping_add(*step);
                }
                output = output.wrapping_add(pixels.output_step);
            }
        }
    };
}

pub(super) use depthwise_int8_kernels;
