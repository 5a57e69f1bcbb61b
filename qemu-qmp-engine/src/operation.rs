//! The parts that every operation has: options on its builder, a timeout, and one
//! future for `.await` and `.wait()`.

/// Makes a builder an operation: implements `IntoFuture` by its
/// `async fn run(self)`.
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

/// Adds the option `timeout`, which sets this field of type `Option<Duration>`.
///
/// ```text
/// timeout_option!(RunJob, timeout);
/// timeout_option!({C} Execute<C>, request.timeout);
/// ```
#[macro_export]
macro_rules! timeout_option {
    ($({$($generics:tt)*})? $type:ty, $($field:tt).+) => {
        impl<$($($generics)*)?> $type {
            /// Sets the timeout of the whole operation, instead of the default of
            /// its connection or machine (30 s unless changed). With `None` it
            /// waits until the other side ends.
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
