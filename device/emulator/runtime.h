// The device as libtorch's core sees it: guard, random numbers and hooks, but no operations.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/Generator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "counts.h"

namespace emulator {

const c10::DispatchKeySet kCudaKeys(c10::DispatchKey::CUDA);
const c10::Device kCuda0(c10::DeviceType::CUDA, 0);

inline c10::DeviceIndex device_count() {
  static const auto count = c10::DeviceIndex(std::max(1L, setting("EMULATOR_DEVICES", 1)));
  return count;
}

inline void set_device(c10::Device device) {
  if (!device.has_index()) return;
  TORCH_CHECK(device.index() < device_count(), "CUDA error: invalid device ordinal");
  current_device = device.index();
}

/// Makes a device the current one until the end of a scope.
struct OnDevice {
  explicit OnDevice(c10::Device device) { set_device(device); }
  ~OnDevice() { current_device = before; }
  const c10::DeviceIndex before = current_device;
};

/// There is one stream per device, on which everything has happened when a call returns.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return c10::DeviceType::CUDA; }
  c10::Device getDevice() const override { return {type(), current_device}; }
  void setDevice(c10::Device to) const override { set_device(to); }
  void uncheckedSetDevice(c10::Device to) const noexcept override {
    if (to.has_index()) current_device = to.index();
  }
  c10::Device exchangeDevice(c10::Device to) const override {
    const c10::Device before = getDevice();
    set_device(to);
    return before;
  }
  c10::DeviceIndex deviceCount() const noexcept override { return device_count(); }

  c10::Stream getStream(c10::Device of) const override {
    return c10::Stream(c10::Stream::DEFAULT, {type(), std::max(c10::DeviceIndex(0), of.index())});
  }
  c10::Stream getDefaultStream(c10::Device of) const override { return getStream(of); }
  c10::Stream getNewStream(c10::Device of, int) const override { return getStream(of); }
  c10::Stream getStreamFromGlobalPool(c10::Device of, bool) const override { return getStream(of); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { count_wait("(synchronize stream)"); }

  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    *event = const_cast<Guard*>(this);
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void synchronizeEvent(void*) const override { count_wait("(synchronize event)"); }
  void synchronizeDevice(c10::DeviceIndex) const override { count_wait("(synchronize device)"); }
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

/// Random numbers: the CPU's generator with another seed, since a GPU does not draw what the CPU draws.
struct Generator final : c10::GeneratorImpl {
  at::Generator inner;

  explicit Generator(at::Generator inner) : c10::GeneratorImpl(kCuda0, kCudaKeys), inner(std::move(inner)) {}
  static at::Generator make() {
    return at::make_generator<Generator>(at::make_generator<at::CPUGeneratorImpl>(~c10::default_rng_seed_val));
  }
  /// The one of the device.
  static at::Generator& standard() {
    static auto* generator = new at::Generator(make());
    return *generator;
  }
  static at::Generator inner_of(const at::Generator& outer) {
    return static_cast<Generator*>(outer.unsafeGetGeneratorImpl())->inner;
  }

  void set_current_seed(uint64_t seed) override { inner.set_current_seed(~seed); }
  uint64_t current_seed() const override { return ~inner.current_seed(); }
  uint64_t seed() override { return ~inner.seed(); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  void set_state(const c10::TensorImpl& state) override { inner.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return inner.unsafeGetGeneratorImpl()->get_state(); }
  Generator* clone_impl() const override { return new Generator(inner.clone()); }
};

}  // namespace emulator

namespace at {

/// libtorch finds hooks by this name.
struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}

  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  long versionCUDART() const override { return 13000; }
  std::string showConfig() const override { return "an emulated device"; }

  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return emulator::device_count(); }
  int getNumGPUs() const override { return emulator::device_count(); }
  DeviceIndex current_device() const override { return emulator::current_device; }
  DeviceIndex getCurrentDevice() const override { return emulator::current_device; }
  void setCurrentDevice(DeviceIndex to) const override { emulator::set_device({kCUDA, to}); }
  DeviceIndex exchangeDevice(DeviceIndex to) const override {
    const DeviceIndex before = emulator::current_device;
    if (to >= 0) setCurrentDevice(to);
    return before;
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex to) const override { return exchangeDevice(to); }
  void deviceSynchronize(DeviceIndex) const override { emulator::Log::get().end_section(); }

  Device getDeviceFromPtr(void*) const override { return emulator::kCuda0; }
  Allocator* getCUDADeviceAllocator() const override { return &emulator::Allocator::get(); }
  const Generator& getDefaultGenerator(DeviceIndex) const override { return emulator::Generator::standard(); }
  Generator getNewGenerator(DeviceIndex) const override { return emulator::Generator::make(); }
};

REGISTER_CUDA_HOOKS(CUDAHooks)

}  // namespace at
