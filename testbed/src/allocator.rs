//! An allocator that counts every byte. Beside `sys`, the only file with unsafe
//! code.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, which also counts the bytes in use. For a program's
/// `#[global_allocator]`.
#[derive(Debug, Default)]
pub struct CountingAllocator {
    used_bytes: AtomicUsize,
    most_bytes: AtomicUsize,
}

impl CountingAllocator {
    /// An allocator with nothing in use.
    pub const fn new() -> Self {
        Self {
            used_bytes: AtomicUsize::new(0),
            most_bytes: AtomicUsize::new(0),
        }
    }

    /// The bytes in use now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The largest number of bytes in use since the last
    /// [`forget_most`](Self::forget_most).
    pub fn most_bytes(&self) -> usize {
        self.most_bytes.load(Ordering::Relaxed)
    }

    /// Restarts the maximum at the current use.
    pub fn forget_most(&self) {
        self.most_bytes.store(self.used_bytes(), Ordering::Relaxed);
    }

    fn took(&self, bytes: usize) {
        let used = self.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.most_bytes.fetch_max(used, Ordering::Relaxed);
    }

    fn gave(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// SAFETY: The system's allocator does all work, with the caller's arguments.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: As promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.took(layout.size());
        // SAFETY: As promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.gave(layout.size());
        // SAFETY: As promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        self.took(bytes);
        self.gave(layout.size());
        // SAFETY: As promised by the caller.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}
