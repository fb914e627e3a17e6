//! Video4Linux2 types without libclang.
//!
//! The crate of this name on the registry makes its bindings at build time, which needs libclang
//! on the machine. These were made once with rust-bindgen 0.73 from the kernel's `videodev2.h`
//! and cut down to what the `v4l` crate uses; structures of which it needs only the size are
//! opaque. The kernel's interface is stable, so they need no renewal; each structure's size and
//! fields are asserted at compile time.
#![cfg(target_os = "linux")]
#![allow(non_camel_case_types, non_upper_case_globals, clippy::all)]
#![no_std]

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "cameras need 64-bit Linux: the checked-in Video4Linux2 bindings have its layout only"
);

#[cfg(target_pointer_width = "64")]
mod bindings;
#[cfg(target_pointer_width = "64")]
pub use bindings::*;
