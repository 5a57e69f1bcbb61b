//! Makes the `Debug` of an error its `Display`, because `unwrap`, `expect` and an
//! error returned from `main` print `Debug`.

/// Implements `Debug` of these types by their `Display`. The generics of a type
/// come before it, in braces.
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
