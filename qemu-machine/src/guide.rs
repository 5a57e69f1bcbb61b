//! The guide's examples compile: each chapter of `docs/guide` is a doctest.

#[doc = include_str!("../../docs/guide/src/first_machine.md")]
struct FirstMachine;

#[doc = include_str!("../../docs/guide/src/linux.md")]
struct Linux;

#[doc = include_str!("../../docs/guide/src/talking.md")]
struct Talking;

#[doc = include_str!("../../docs/guide/src/waiting.md")]
struct Waiting;

#[doc = include_str!("../../docs/guide/src/tests.md")]
struct Tests;

#[doc = include_str!("../../docs/guide/src/failures.md")]
struct Failures;

#[doc = include_str!("../../docs/guide/src/ci.md")]
struct Ci;

#[doc = include_str!("../../docs/guide/src/many_machines.md")]
struct ManyMachines;

#[doc = include_str!("../../docs/guide/src/templates.md")]
struct Templates;

#[doc = include_str!("../../docs/guide/src/published.md")]
struct Published;

#[doc = include_str!("../../docs/guide/src/python.md")]
struct InPython;

#[doc = include_str!("../../docs/guide/src/python_unchanged.md")]
struct PythonUnchanged;

#[doc = include_str!("../../docs/guide/src/from_python.md")]
struct FromPython;

#[doc = include_str!("../../docs/guide/src/from_nixos.md")]
struct FromNixos;

#[doc = include_str!("../../docs/guide/src/from_libvirt.md")]
struct FromLibvirt;
