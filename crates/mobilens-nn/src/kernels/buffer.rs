//! Aligned, zero-initialised memory of fixed size for tensors and packed weights.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

#[cfg(all(test, unix))]
use guarded::{Memory, allocate, free};
#[cfg(all(test, unix))]
pub(super) use guarded::{Side, guard};
#[cfg(not(all(test, unix)))]
use plain::{Memory, allocate, free};

/// Types that tensors and packed weights are made of: every bit pattern is a value, zero bits too.
pub trait Element: Copy + Send + Sync + sealed::Sealed + 'static {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($t:ty)*) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {}
    )*};
}

elements!(u8 i8 u16 i16 i32 f32);

/// A fixed number of values, aligned to a cache line, or to a huge page where it is large.
pub struct Buffer<T: Element = f32> {
    start: NonNull<T>,
    len: usize,
    memory: Memory,
}

// SAFETY: the buffer owns its memory as a `Vec` does; access follows the borrow of the buffer.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: as above; shared references only read.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let (start, memory) = allocate(len.max(1) * size_of::<T>());
        Self {
            start: start.cast(),
            len,
            memory,
        }
    }

    /// A copy of `values`.
    pub fn from_slice(values: &[T]) -> Self {
        let mut buffer = Self::zeroed(values.len());
        buffer.copy_from_slice(values);
        buffer
    }

    /// First value; what it points to may be written only where no reference to the buffer lives.
    pub fn as_ptr_mut(&mut self) -> *mut T {
        self.start.as_ptr()
    }
}

impl<T: Element> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `start` points to `len` initialised values that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` and freed once.
        unsafe { free(self.start.cast(), self.memory) }
    }
}

impl<T: Element> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} x {})", self.len, std::any::type_name::<T>())
    }
}

#[cfg(not(all(test, unix)))]
mod plain {
    use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
    use std::ptr::NonNull;

    /// Large buffers begin at a huge page, so that the system can back them with few entries.
    const HUGE_PAGE: usize = 2 << 20;
    /// A cache line and an AVX-512 register.
    const LINE: usize = 64;

    pub(super) type Memory = Layout;

    /// Zeros.
    pub(super) fn allocate(bytes: usize) -> (NonNull<u8>, Memory) {
        let align = if bytes >= HUGE_PAGE { HUGE_PAGE } else { LINE };
        let layout = Layout::from_size_align(bytes.next_multiple_of(LINE), align)
            .expect("tensors are far smaller than the address space");
        // SAFETY: the layout's size is at least one cache line.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => (start, layout),
            None => handle_alloc_error(layout),
        }
    }

    /// # Safety
    /// What [`allocate`] returned, once.
    pub(super) unsafe fn free(start: NonNull<u8>, layout: Memory) {
        // SAFETY: the caller's promise.
        unsafe { dealloc(start.as_ptr(), layout) }
    }
}

/// In this crate's own tests every buffer lies against a guard page, so that the
/// first value read or written outside ends the test.
#[cfg(all(test, unix))]
mod guarded {
    use std::cell::Cell;
    use std::ptr::{NonNull, null_mut};

    /// Which end of a buffer is held to the byte; the other only to the page.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Side {
        Before,
        Behind,
    }

    thread_local! {
        static SIDE: Cell<Side> = const { Cell::new(Side::Behind) };
    }

    /// Guards this side of the buffers that this thread makes from now on.
    pub(in super::super) fn guard(side: Side) {
        SIDE.set(side);
    }

    /// The whole mapping.
    #[derive(Clone, Copy)]
    pub(super) struct Memory {
        start: *mut libc::c_void,
        bytes: usize,
    }

    /// Zeros between two pages without access.
    pub(super) fn allocate(bytes: usize) -> (NonNull<u8>, Memory) {
        // SAFETY: a query, a fresh mapping of its own, and changes of that mapping's own pages.
        unsafe {
            let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).expect("a page size");
            let inner = bytes.next_multiple_of(page);
            let all = inner + 2 * page;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(null_mut(), all, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED, "memory for a test");
            let first = start.cast::<u8>().add(page);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(first.cast(), inner, access), 0, "access");
            let offset = match SIDE.get() {
                Side::Before => 0,
                Side::Behind => inner - bytes,
            };
            let data = NonNull::new(first.add(offset)).expect("inside the mapping");
            (data, Memory { start, bytes: all })
        }
    }

    /// # Safety
    /// What [`allocate`] returned, once.
    pub(super) unsafe fn free(_: NonNull<u8>, memory: Memory) {
        // SAFETY: the caller's promise.
        let result = unsafe { libc::munmap(memory.start, memory.bytes) };
        debug_assert_eq!(result, 0, "a mapping of its own");
    }
}
