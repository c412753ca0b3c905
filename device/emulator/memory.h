// The memory of the device, which the host cannot touch.
//
// Two regions of one size are reserved. Tensors hold addresses of the first, which has no access rights: whoever reads or
// writes them on the host, on any thread, gets a segmentation fault. The bytes are at the same distance in the second
// region, where only the emulator looks. Fresh memory is filled with ones, which is NaN for every type of float.
//
// Memory runs out at EMULATOR_MIB, and after EMULATOR_ALLOCATIONS allocations.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace emulator {

inline long setting(const char* name, long otherwise) {
  const char* value = std::getenv(name);
  return value ? std::atol(value) : otherwise;
}

/// The device that this thread works on.
inline thread_local c10::DeviceIndex current_device = 0;

class Memory {
 public:
  static Memory& get() {
    static auto* memory = new Memory();  // never destroyed: tensors may live as long as the process
    return *memory;
  }

  void* take(size_t bytes) {
    const size_t size = round_up(bytes, kAlignment);
    std::lock_guard<std::mutex> lock(mutex_);
    const size_t free = calls_ < allowed_ ? capacity_ - live_ : 0;
    ++calls_;
    if (size > free) {
      TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", mib(bytes), ".00 MiB. GPU ",
                       int(current_device), " has a total capacity of ", mib(capacity_), ".00 MiB of which ", mib(free),
                       ".00 MiB is free.");
    }
    auto& free_blocks = free_[block_size(size)];
    size_t offset = end_;
    if (free_blocks.empty()) {
      end_ += block_size(size);
      TORCH_CHECK(end_ <= kReserved, "emulator: the reserved addresses are used up");
    } else {
      offset = free_blocks.back();
      free_blocks.pop_back();
    }
    taken_[offset] = size;
    live_ += size;
    peak_ = std::max(peak_, live_);
    std::memset(bytes_ + offset, 0xFF, size);
    return addresses_ + offset;
  }

  void give_back(void* address) {
    std::lock_guard<std::mutex> lock(mutex_);
    const size_t offset = static_cast<char*>(address) - addresses_;
    const auto block = taken_.find(offset);
    if (block == taken_.end()) {
      std::fprintf(stderr, "emulator: memory is freed that was not allocated\n");
      std::abort();
    }
    const size_t size = block->second;
    taken_.erase(block);
    live_ -= size;
    free_[block_size(size)].push_back(offset);
    if (size >= kLarge) madvise(bytes_ + offset, size, MADV_DONTNEED);
  }

  /// Where the bytes of a device address are.
  void* bytes(const void* address) const {
    if (!address) return nullptr;
    const auto* at = static_cast<const char*>(address);
    TORCH_CHECK(at >= addresses_ && at < addresses_ + kReserved, "emulator: a device tensor outside of device memory");
    return bytes_ + (at - addresses_);
  }

  /// What is free, and what there is.
  void info(size_t* free, size_t* total) {
    std::lock_guard<std::mutex> lock(mutex_);
    *free = capacity_ - live_;
    *total = capacity_;
  }

  /// Allocations so far.
  long calls() {
    std::lock_guard<std::mutex> lock(mutex_);
    return calls_;
  }

  /// The most bytes that were allocated at once since the last call.
  size_t take_peak() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(peak_, live_);
  }

 private:
  static constexpr size_t kReserved = size_t(256) << 30;
  static constexpr size_t kAlignment = 512;
  static constexpr size_t kLarge = size_t(1) << 20;

  Memory() : addresses_(reserve(PROT_NONE)), bytes_(reserve(PROT_READ | PROT_WRITE)) {}

  static char* reserve(int rights) {
    void* start = mmap(nullptr, kReserved, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) {
      std::perror("emulator: cannot reserve addresses");
      std::abort();
    }
    return static_cast<char*>(start);
  }
  static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
  static size_t mib(size_t bytes) { return bytes >> 20; }

  /// Blocks of one size are used again for each other: all sizes below a MiB, then eight to each power of two.
  static size_t block_size(size_t size) {
    size_t unit = kAlignment;
    if (size >= kLarge) {
      while (unit * 16 <= size) unit *= 2;
    }
    return round_up(size, unit);
  }

  std::mutex mutex_;
  char* const addresses_;
  char* const bytes_;
  const size_t capacity_ = size_t(setting("EMULATOR_MIB", 16384)) << 20;
  const long allowed_ = setting("EMULATOR_ALLOCATIONS", std::numeric_limits<long>::max());
  long calls_ = 0;
  size_t live_ = 0, peak_ = 0, end_ = 0;
  std::unordered_map<size_t, size_t> taken_;              // offset to size
  std::unordered_map<size_t, std::vector<size_t>> free_;  // size of a block to offsets
};

struct Allocator final : c10::Allocator {
  static Allocator& get() {
    static Allocator allocator;
    return allocator;
  }
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::DeviceType::CUDA, current_device);
    if (bytes == 0) return {nullptr, device};
    void* address = Memory::get().take(bytes);
    return {address, address, raw_deleter(), device};
  }
  c10::DeleterFnPtr raw_deleter() const override {
    return [](void* address) { Memory::get().give_back(address); };
  }
  void copy_data(void* to, const void* from, size_t count) const override {
    std::memcpy(Memory::get().bytes(to), Memory::get().bytes(from), count);
  }
};

inline c10::AllocatorRegisterer<c10::DeviceType::CUDA> register_allocator(&Allocator::get());

}  // namespace emulator
