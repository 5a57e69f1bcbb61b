//! `Debug` of an error as its `Display`: what `unwrap`, `expect` and an error
//! returned from `main` show.

/// Implements `Debug` of these types by their `Display`.
#[macro_export]
macro_rules! debug_is_display {
    ($($({$($generics:tt)*})? $error:ty),+ $(,)?) => {$(
        impl<$($($generics)*)?> std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+};
}
