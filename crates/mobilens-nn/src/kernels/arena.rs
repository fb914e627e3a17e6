//! The memory arena of a session: one block for all tensors, and scratch memory for each thread.

use super::buffer::Buffer;
use super::row_view::RowView;
use super::shape::Shape;

/// Offset and length of a tensor in the arena, in floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// First float.
    pub offset: usize,
    /// Number of floats.
    pub len: usize,
}

impl Slot {
    /// Whether the two share memory.
    pub fn overlaps(self, other: Self) -> bool {
        self.offset < other.offset + other.len && other.offset < self.offset + self.len
    }
}

/// The memory that a [`Program`](super::Program) runs in.
#[derive(Debug)]
pub struct Arena {
    _tensors: Buffer,
    _scratch: Vec<Buffer>,
    start: *mut f32,
    len: usize,
    scratch_len: usize,
    scratch_starts: Vec<*mut f32>,
}

// SAFETY: the pointers are into buffers that the arena owns; who writes where through a shared
// arena is ruled by the unsafe functions below.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Memory for `len` floats of tensors and `scratch_len` for each thread.
    pub fn new(len: usize, scratch_len: usize, threads: usize) -> Self {
        let mut tensors = Buffer::zeroed(len);
        let mut scratch: Vec<_> = (0..threads).map(|_| Buffer::zeroed(scratch_len)).collect();
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
    /// When the slot lies outside the arena.
    pub fn tensor(&self, slot: Slot) -> &[f32] {
        assert!(
            slot.offset + slot.len <= self.len,
            "the slot lies in the arena"
        );
        // SAFETY: inside; safe code has no way to write while the arena is borrowed shared, and
        // the unsafe users do so only within `Program::run`, which borrows it alone.
        unsafe { std::slice::from_raw_parts(self.start.add(slot.offset), slot.len) }
    }

    /// A tensor to write, borrowed with the whole arena.
    ///
    /// # Panics
    /// When the slot lies outside the arena.
    pub fn tensor_mut(&mut self, slot: Slot) -> &mut [f32] {
        assert!(
            slot.offset + slot.len <= self.len,
            "the slot lies in the arena"
        );
        // SAFETY: inside, and the arena is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(slot.offset), slot.len) }
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
    pub(super) unsafe fn rows(&self, slot: Slot, shape: Shape) -> RowView {
        debug_assert!(shape.floats() <= slot.len && slot.offset + slot.len <= self.len);
        RowView {
            // SAFETY: the caller's promise.
            start: unsafe { self.start.add(slot.offset) },
            stride: shape.row(),
            row_count: shape.h.max(1),
        }
    }

    /// # Safety
    /// The slot must lie in the arena, and nobody may write it while the slice lives.
    pub(super) unsafe fn slice(&self, slot: Slot) -> &[f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.add(slot.offset), slot.len) }
    }

    /// # Safety
    /// The slot must lie in the arena, and nobody else may use it while the slice lives.
    #[expect(
        clippy::mut_from_ref,
        reason = "threads write disjoint parts of one arena"
    )]
    pub(super) unsafe fn slice_mut(&self, slot: Slot) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(slot.offset), slot.len) }
    }

    /// First float of a thread's scratch memory.
    pub(super) fn scratch(&self, thread: usize) -> *mut f32 {
        self.scratch_starts[thread]
    }
}
