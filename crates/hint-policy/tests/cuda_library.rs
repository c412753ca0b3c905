//! Whether a program could reach a GPU: libtorch's CUDA library is loaded, and libtorch sees it. No GPU is needed.
//!
//! The library must be loaded before libtorch looks for it, which it does once. So this test has a process of
//! its own.

use hint_policy::runtime::{DeviceChoice, load_cuda};
use tch::{Device, Kind, Tensor};

#[test]
#[expect(clippy::disallowed_methods, reason = "tests are told the device")]
fn libtorch_sees_its_cuda_library_once_it_is_loaded() {
    // With an emulated device the library is there from the start.
    if std::env::var_os("HINT_TEST_DEVICE").is_some() {
        return;
    }
    // The CPU costs nothing: the library is not loaded.
    assert_eq!(DeviceChoice::Cpu.resolve().map(|chosen| chosen.device).ok(), Some(Device::Cpu));
    assert!(!is_mapped("libtorch_cuda.so"), "the CPU needs no CUDA library");
    match load_cuda() {
        Ok(()) => {
            assert!(tch::utils::has_cudart(), "libtorch must have found it");
            assert!(is_mapped("libtorch_cuda.so"));
            assert!(tch::utils::version_cudart() >= 11_000);
        }
        Err(error) => {
            // A libtorch for CPUs alone.
            let text = error.to_string();
            assert!(text.contains("built without CUDA"), "{text}");
        }
    }
    // What was loaded does no harm to the CPU.
    let sum = Tensor::ones([3], (Kind::Float, Device::Cpu)).sum(Kind::Float);
    assert_eq!(sum.double_value(&[]), 3.0);
}

fn is_mapped(library: &str) -> bool {
    std::fs::read_to_string("/proc/self/maps").is_ok_and(|maps| maps.contains(library))
}
