//! CPU kernels for the operators of MobileNets in float32 and int8, and the program that runs them.
//!
//! The only module with `unsafe` code: SIMD intrinsics and threads that write disjoint parts of
//! one arena need it. [`Program::new`] checks every size and offset that the unsafe parts rely on,
//! so nothing in a network file can make them access memory out of bounds.
//!
//! | operator | kernel | vectorised for |
//! |---|---|---|
//! | dense and pointwise convolution, with activation and residual sum in the epilogue | `gemm` | AVX-512, AVX2 |
//! | the same in int8, with requantisation in the epilogue | `gemm_int8` | AVX-512 VNNI, AVX-VNNI, AVX2 |
//! | depthwise 3x3, stride 1 and 2 | `depthwise3x3` | AVX-512, AVX2 |
//! | grouped convolution, as products of a few groups each | `gemm` | AVX-512, AVX2 |
//! | depthwise up to 31x31, any stride and dilation | `depthwise` | AVX-512, AVX2 |
//! | the same in bfloat16, summed in float32 | `gemm_bf16`, `depthwise_bf16` | AMX, AVX-512 BF16 |
//! | inverted residuals in strips that stay in cache | [`FusedConv`] | by its stages |
//! | attention and products of matrices, on the microkernels of `gemm`; scores in blocks that stay in cache | `attention` | AVX-512, AVX2 |
//! | softmax, layer normalisation, reductions, elementwise functions with broadcasting | `softmax`, `layer_norm`, `reduce`, `broadcast` | by the compiler, for each instruction set |
//! | global sum pooling, elementwise functions, transpose, concatenation, expansion, bilinear resize | [`Operator`] | by the compiler |
//!
//! In int8, with the same bytes on every instruction set ([`Requantize`] is the definition):
//!
//! | operator | kernel | vectorised for |
//! |---|---|---|
//! | dense and pointwise convolution, with activation and residual sum in the epilogue | `gemm_int8` | AVX-512 VNNI, AVX-VNNI, AVX2 |
//! | depthwise convolution up to 7x7 | `depthwise_int8` | AVX-512 VNNI, AVX-VNNI, AVX2 |
//! | sums, products, tables of 256 codes, pooling, resizing, quantising | `operator_int8`, `resize_int8` | by the compiler |
//!
//! Activations are in NHWC, batch size 1. Weights are packed once at load ([`PackedGemm`],
//! [`PackedDepthwise`]). [`Isa`] picks the instruction set at run time; each kernel has a portable
//! version too.
//!
//! # Measured
//!
//! SSDLite MobileNetV2 at 300x300, one core of an AMD EPYC (Zen 4) whose peak is 58.6 GMAC/s with
//! AVX2 and AVX-512 alike; all multiply-accumulates of the network at that rate are 12.8 ms
//! (`mobilens bench MODEL --layers`, `cargo bench -p mobilens-nn`):
//!
//! | step | AVX-512 ms | AVX2 ms |
//! |---|---|---|
//! | plain tract | 41.8 | 41.8 |
//! | GEMM tile by tile, depthwise pixel by pixel, fused convolutions strip by strip | 32.1 | |
//! | GEMM of a cache block in one call; depthwise in tiles of pixels | 15.8 | 17.5 |
//! | depthwise 3x3 with a sliding window, each value read once | 14.8 | 16.5 |
//! | only the six classes of a street | 12.5 | |
//!
//! Share of the core's peak, each shape by itself:
//!
//! | layer | AVX-512 before, after | AVX2 before, after |
//! |---|---|---|
//! | pointwise, 19x19 and 10x10 pixels | 96, 98 to 100 % | 90, 90 to 96 % |
//! | pointwise, 75x75, 24 channels to 144 | 86, 86 % | 75, 75 % |
//! | pointwise, 150x150, 16 channels to 96 (bound by the store of 8.6 MB) | 65, 52 to 65 % | 62, 64 % |
//! | first 3x3, stride 2 | 82, 84 % | 72, 72 % |
//! | depthwise 3x3, stride 1 | 35 to 56, 81 to 87 % | 31 to 45, 47 to 59 % |
//! | depthwise 3x3, stride 2 | 31 to 39, 45 to 59 % | 29 to 31, 40 % |
//! | depthwise 5x5 | 51, 54 % | 51, 53 % |
//! | inverted residual 38x38, 32 to 192, fused | 85, 94 % | 76, 79 % |
//!
//! Dense float32 convolutions that read their input in place, one core of an Intel Xeon (Sapphire Rapids,
//! 2 MB of L2, peak 90 GMAC/s in AVX-512), share of the peak, where taps in the padding count as
//! work; before, a padded copy was read and all of K was summed in one go:
//!
//! | layer | before, after |
//! |---|---|
//! | 3x3 33x33, 960 to 256, dilation 12, 24, 36 | 24, 128; 23, 250; 22, 680 % |
//! | 3x3 14x14, 256 to 256; 7x7, 512 to 512 | 92; 95 % after |
//! | 3x3 10x10, 256 to 512, stride 2 | 62, 82 % |
//! | first 3x3 300x300, 3 to 32, stride 2 | 60, 68 % |
//! | pointwise 33x33, 960 to 256 | 88 % after |
//! | pointwise 7x7, 2048 to 512; 10x10, 1280 to 546 | 90; 78, 86 % |
//!
//! Most of it came from chunks of K of at most 1024 steps, whose weights are then read from L2 and
//! not from L3 for each tile, and from leaving out taps in the padding. Prefetching the next
//! chunk's weights is worth 5 to 10 % where the weights do not fit L2, and as much for weights of
//! 0.4 to 0.6 MB. Within 2 %: chunks of 2048 steps, blocks of 96 or 384 pixels, twice the floats
//! of input in a block, prefetching the input of the next tile. Chunks of 512 steps cost 3 to 15 %.
//!
//! What did not help, within 1 %: one base pointer and equal strides instead of a pointer a pixel;
//! software prefetch of weights 16 to 128 cache lines ahead (in place of the hardware prefetcher);
//! strips of 256 to 512 KB (96 and 700 KB cost 3 %); groups of 8 or 32 depthwise rows instead of
//! 16; clamping as integers. The portable kernels are kept for CPUs without these instruction sets
//! and as a yardstick; built for SSE2 they take 66 ms, more than tract, which therefore is chosen
//! there.

#![expect(
    unsafe_code,
    reason = "SIMD intrinsics, and threads that share one arena"
)]

mod activation;
#[cfg(target_arch = "x86_64")]
mod activation_avx2;
#[cfg(target_arch = "x86_64")]
mod activation_avx2_without_fma;
#[cfg(target_arch = "x86_64")]
mod activation_avx512;
mod activation_functions;
mod affinity;
#[cfg(target_arch = "x86_64")]
mod amx;
mod arena;
mod attention;
mod bf16;
mod broadcast;
mod buffer;
mod conv_bf16;
mod conv_stage;
mod depthwise;
mod depthwise3x3;
#[cfg(target_arch = "x86_64")]
mod depthwise3x3_bf16_avx512;
#[cfg(target_arch = "x86_64")]
mod depthwise_avx2;
#[cfg(target_arch = "x86_64")]
mod depthwise_avx512;
mod depthwise_bf16;
#[cfg(target_arch = "x86_64")]
mod depthwise_bf16_avx512;
mod depthwise_bf16_portable;
mod depthwise_int8;
#[cfg(target_arch = "x86_64")]
mod depthwise_int8_kernels;
mod depthwise_int8_portable;
#[cfg(target_arch = "x86_64")]
mod depthwise_int8_registers;
#[cfg(target_arch = "x86_64")]
mod depthwise_int8_x86;
mod depthwise_portable;
mod depthwise_row;
mod elementwise;
mod feature_map;
mod fused_conv;
mod fused_conv_stage;
mod gemm;
#[cfg(target_arch = "x86_64")]
mod gemm_avx2;
#[cfg(target_arch = "x86_64")]
mod gemm_avx512;
mod gemm_bf16;
#[cfg(target_arch = "x86_64")]
mod gemm_bf16_amx;
#[cfg(target_arch = "x86_64")]
mod gemm_bf16_avx512;
mod gemm_bf16_block;
mod gemm_bf16_portable;
mod gemm_block;
mod gemm_int8;
#[cfg(target_arch = "x86_64")]
mod gemm_int8_amx;
#[cfg(target_arch = "x86_64")]
mod gemm_int8_avx2;
#[cfg(target_arch = "x86_64")]
mod gemm_int8_avx512;
#[cfg(target_arch = "x86_64")]
mod gemm_int8_avx512_epilogue;
#[cfg(target_arch = "x86_64")]
mod gemm_int8_avx_vnni;
mod gemm_int8_block;
mod gemm_int8_epilogue;
mod gemm_int8_portable;
#[cfg(target_arch = "x86_64")]
mod gemm_int8_ymm_epilogue;
mod gemm_portable;
mod gemm_segments;
mod global_sum_pool;
mod int8_step;
mod isa;
mod isa_bf16;
mod isa_loop;
mod layer_norm;
mod matrices;
mod nearest;
mod operator;
mod operator_int8;
mod packed_depthwise;
mod packed_depthwise_bf16;
mod packed_depthwise_int8;
mod packed_gemm;
mod packed_gemm_bf16;
mod packed_gemm_int8;
mod packed_groups;
mod pad;
mod peak;
mod pool;
mod program;
mod reduce;
mod requantize;
mod resize;
mod resize_int8;
mod row_view;
mod shape;
mod simd;
#[cfg(target_arch = "x86_64")]
mod simd_bf16;
mod softmax;
mod tensor_step;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_activations;
#[cfg(test)]
mod tests_bf16;
#[cfg(test)]
mod tests_feature_map;
#[cfg(test)]
mod tests_int8_depthwise;
#[cfg(test)]
mod tests_int8_gemm;
#[cfg(test)]
mod tests_int8_operators;
#[cfg(test)]
mod tests_thread_pool;
#[cfg(test)]
mod tests_transformers;
mod thread_pool;
mod transpose;
mod weights_avx2;
mod window;

pub use activation::Activation;
pub use arena::{Arena, Slot};
pub use attention::{Attention, MatrixProduct, fill_rows};
pub use bf16::{bf16_from_f32, f32_from_bf16, from_bf16, round_to_bf16, to_bf16};
pub use broadcast::BroadcastBinary;
pub use buffer::{Buffer, Element};
pub use conv_bf16::{Bf16Values, ConvBf16, ConvWeightsBf16};
pub use conv_stage::{ConvStage, ConvWeights, Int8Weights};
pub use depthwise_int8::{DepthwiseInt8Job, depthwise_int8, depthwise_int8_tensor};
pub use elementwise::{BinaryOp, FakeQuantize, UnaryOp};
pub use feature_map::FeatureMapOp;
pub use fused_conv::{FusedConv, MAX_FUSED_STAGES};
pub use gemm_int8::gemm_int8;
pub use gemm_int8_block::{GemmInt8Job, Int8Rows};
pub use int8_step::{BinaryInt8Step, Int8Op};
pub use isa::{Int8Isa, Isa, IsaSet};
pub use isa_bf16::Bf16Isa;
pub use matrices::Matrices;
pub use nearest::Nearest;
pub use operator::{Operand, Operator};
pub use operator_int8::{
    CodeOperand, add_int8, dequantize, global_sum_pool_int8, lookup, multiply_int8, quantize,
};
pub use packed_depthwise::PackedDepthwise;
pub use packed_depthwise_bf16::{BLOCK_BF16, PackedDepthwiseBf16};
pub use packed_depthwise_int8::{PackedDepthwiseInt8, addends_of};
pub use packed_gemm::{PANEL, PackedGemm};
pub use packed_gemm_bf16::PackedGemmBf16;
pub use packed_gemm_int8::PackedGemmInt8;
pub use packed_groups::{PackedGroups, find_groups};
pub use pad::Pad;
pub use peak::{peak_gmacs, peak_int8_gmacs};
pub use pool::{Pool, PoolFunction, PoolTaps, pool_taps};
pub use program::{Program, Step};
pub use reduce::ReduceOp;
pub use requantize::{
    CHANNEL_GROUP, CodeFunction, CodeRange, Int8Output, Requantize, Residual, ResidualRounding,
};
pub use resize::Resize;
pub use resize_int8::{ResizeInt8, ResizeInt8Rows};
pub use row_view::RowView;
pub use shape::Shape;
pub use tensor_step::{TensorOp, TensorStep};
pub use thread_pool::ThreadPool;
pub use window::{MAX_DEPTHWISE_SIZE, MAX_KERNEL_SIZE, Window};
