//! What every operation has: it is a builder whose options stand on it, and it
//! becomes one future by `.await` or `.wait()`.

/// Makes a builder an operation: `IntoFuture`, by its own `async fn run(self)`.
///
/// ```text
/// operation!({C: Command + 'static} Execute<C> => Result<C::Return, ExecuteError>);
/// operation!({'a} Expect<'a> => Result<Match, ExpectError>, 'a);
/// ```
#[macro_export]
macro_rules! operation {
    ($({$($generics:tt)*})? $type:ty => $output:ty $(, $borrowed:lifetime)?) => {
        impl<$($($generics)*)?> ::std::future::IntoFuture for $type {
            type Output = $output;
            type IntoFuture = ::std::pin::Pin<::std::boxed::Box<
                dyn ::std::future::Future<Output = $output> + Send $(+ $borrowed)?,
            >>;

            fn into_future(self) -> Self::IntoFuture {
                ::std::boxed::Box::pin(self.run())
            }
        }
    };
}

/// Gives an operation its deadline, kept in this field as an `Option<Duration>`.
///
/// ```text
/// timeout_option!(RunJob, timeout);
/// timeout_option!({C} Execute<C>, request.timeout);
/// ```
#[macro_export]
macro_rules! timeout_option {
    ($({$($generics:tt)*})? $type:ty, $($field:tt).+) => {
        impl<$($($generics)*)?> $type {
            /// Waits at most this long for the whole operation, instead of the
            /// default of its connection or machine: 30 s, if that was not
            /// changed. With `None` it waits until the other side ends.
            pub fn timeout(
                mut self,
                timeout: impl ::std::convert::Into<::std::option::Option<::std::time::Duration>>,
            ) -> Self {
                self.$($field).+ = timeout.into();
                self
            }
        }
    };
}
