//! The memory arena of a session: one block for all tensors, and scratch memory for each thread.

use super::buffer::{Buffer, Element};
use super::row_view::RowView;
use super::shape::Shape;

/// Offset and length of a tensor in the arena, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// First byte; a multiple of the element's size.
    pub offset: usize,
    /// Number of bytes.
    pub len: usize,
}

impl Slot {
    /// `len` values of `T`, from where `offset` values of `T` lie before.
    pub fn of<T: Element>(offset: usize, len: usize) -> Self {
        Self {
            offset: offset * size_of::<T>(),
            len: len * size_of::<T>(),
        }
    }

    /// Whether the two share memory.
    pub fn overlaps(self, other: Self) -> bool {
        self.offset < other.offset + other.len && other.offset < self.offset + self.len
    }

    /// Whether it holds whole values of `T` at an address that suits them.
    pub(super) fn suits<T: Element>(self) -> bool {
        self.offset.is_multiple_of(size_of::<T>()) && self.len.is_multiple_of(size_of::<T>())
    }
}

/// The memory that a [`Program`](super::Program) runs in.
#[derive(Debug)]
pub struct Arena {
    _tensors: Buffer<u8>,
    _scratch: Vec<Buffer<u8>>,
    start: *mut u8,
    len: usize,
    scratch_len: usize,
    scratch_starts: Vec<*mut u8>,
}

// SAFETY: the pointers are into buffers that the arena owns; who writes where through a shared
// arena is ruled by the unsafe functions below.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

/// Lengths are whole multiples of this, so that a buffer that ends at a page's end is aligned.
const ALIGN: usize = align_of::<f32>();

impl Arena {
    /// Memory for `len` bytes of tensors and `scratch_len` for each thread.
    pub fn new(len: usize, scratch_len: usize, threads: usize) -> Self {
        let mut tensors = Buffer::zeroed(len.next_multiple_of(ALIGN));
        let scratch_bytes = scratch_len.next_multiple_of(ALIGN);
        let mut scratch: Vec<_> = (0..threads)
            .map(|_| Buffer::zeroed(scratch_bytes))
            .collect();
        Self {
            start: tensors.as_ptr_mut(),
            len,
            scratch_len,
            scratch_starts: scratch.iter_mut().map(Buffer::as_ptr_mut).collect(),
            _tensors: tensors,
            _scratch: scratch,
        }
    }

    /// A tensor, borrowed with the whole arena.
    ///
    /// # Panics
    /// When the slot lies outside the arena or does not suit the element type.
    pub fn tensor<T: Element>(&self, slot: Slot) -> &[T] {
        self.check_slot::<T>(slot);
        // SAFETY: inside and aligned, every bit pattern is a value; safe code has no way to write
        // while the arena is borrowed shared, and the unsafe users do so only within
        // `Program::run`, which borrows it alone.
        unsafe { self.slice(slot) }
    }

    /// A tensor to write, borrowed with the whole arena.
    ///
    /// # Panics
    /// When the slot lies outside the arena or does not suit the element type.
    pub fn tensor_mut<T: Element>(&mut self, slot: Slot) -> &mut [T] {
        self.check_slot::<T>(slot);
        // SAFETY: inside and aligned, and the arena is borrowed alone.
        unsafe { self.slice_mut(slot) }
    }

    fn check_slot<T: Element>(&self, slot: Slot) {
        assert!(
            slot.offset + slot.len <= self.len && slot.suits::<T>(),
            "the slot lies in the arena and holds such values"
        );
    }

    /// Panics where the arena is smaller than a program needs.
    pub(super) fn check_size(&self, len: usize, scratch_len: usize, threads: usize) {
        assert!(
            self.len >= len
                && self.scratch_len >= scratch_len
                && self.scratch_starts.len() >= threads,
            "the arena was made for this program and thread pool"
        );
    }

    /// A tensor as rows.
    ///
    /// # Safety
    /// The slot must lie in the arena and hold `shape`.
    pub(super) unsafe fn rows<T: Element>(&self, slot: Slot, shape: Shape) -> RowView<T> {
        debug_assert!(shape.elements() * size_of::<T>() <= slot.len && slot.suits::<T>());
        debug_assert!(slot.offset + slot.len <= self.len);
        RowView {
            // SAFETY: the caller's promise.
            start: unsafe { self.start.add(slot.offset) }.cast(),
            stride: shape.row(),
            row_count: shape.h.max(1),
        }
    }

    /// # Safety
    /// The slot must lie in the arena, suit the element type, and nobody may write it while the
    /// slice lives.
    pub(super) unsafe fn slice<T: Element>(&self, slot: Slot) -> &[T] {
        let len = slot.len / size_of::<T>();
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.add(slot.offset).cast(), len) }
    }

    /// # Safety
    /// The slot must lie in the arena, suit the element type, and nobody else may use it while the
    /// slice lives.
    #[expect(
        clippy::mut_from_ref,
        reason = "threads write disjoint parts of one arena"
    )]
    pub(super) unsafe fn slice_mut<T: Element>(&self, slot: Slot) -> &mut [T] {
        let len = slot.len / size_of::<T>();
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(slot.offset).cast(), len) }
    }

    /// First byte of a slot that lies in the arena.
    pub(super) fn pointer(&self, slot: Slot) -> *mut u8 {
        self.start.wrapping_add(slot.offset)
    }

    /// First byte of a thread's scratch memory.
    pub(super) fn scratch(&self, thread: usize) -> *mut u8 {
        self.scratch_starts[thread]
    }
}
