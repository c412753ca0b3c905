// What a GPU would have to do: kernels launched, times the host waits, bytes that cross the bus.
//
// With EMULATOR_LOG=FOLDER each process appends to FOLDER/PID.tsv. A section ends when the program synchronizes the device
// (tch::Cuda::synchronize) or exits, so a program measures a part of itself by synchronizing before and after it.
//
//   section  PEAK_BYTES ALLOCATIONS_SO_FAR
//   count    LAUNCHES WAITS SENT SENT_BYTES READ READ_BYTES  OPERATION  [ADDRESS ...]
//
// With EMULATOR_TRACE=1, counts of what waits or copies carry the return addresses within the program, innermost first.
#pragma once

#include <torch/csrc/autograd/function.h>

#include <execinfo.h>
#include <link.h>
#include <unistd.h>

#include <map>
#include <string>
#include <utility>

#include "memory.h"

namespace emulator {

struct Count {
  long launches = 0, waits = 0, sent = 0, sent_bytes = 0, read = 0, read_bytes = 0;

  void operator+=(const Count& more) {
    launches += more.launches;
    waits += more.waits;
    sent += more.sent;
    sent_bytes += more.sent_bytes;
    read += more.read;
    read_bytes += more.read_bytes;
  }
};

class Log {
 public:
  static Log& get() {
    static auto* log = new Log();  // never destroyed: what is destroyed later may still count
    return *log;
  }

  void add(const std::string& operation, const Count& count) {
    if (folder_.empty()) return;
    std::string name = operation;
    if (auto node = torch::autograd::get_current_node()) name += " in " + node->name();
    std::vector<uintptr_t> site;
    if (trace_ && (count.waits || count.sent || count.read)) site = return_addresses();
    std::lock_guard<std::mutex> lock(mutex_);
    counts_[{name, site}] += count;
  }

  void end_section() {
    if (folder_.empty()) return;
    std::lock_guard<std::mutex> lock(mutex_);
    const std::string path = folder_ + "/" + std::to_string(getpid()) + ".tsv";
    std::FILE* file = std::fopen(path.c_str(), "a");
    if (!file) {
      std::perror(path.c_str());
      std::abort();
    }
    std::fprintf(file, "section\t%zu\t%ld\n", Memory::get().take_peak(), Memory::get().calls());
    for (const auto& [what, count] : counts_) {
      std::fprintf(file, "count\t%ld\t%ld\t%ld\t%ld\t%ld\t%ld\t%s", count.launches, count.waits, count.sent, count.sent_bytes,
                   count.read, count.read_bytes, what.first.c_str());
      for (uintptr_t address : what.second) std::fprintf(file, "\t%#lx", address);
      std::fputc('\n', file);
    }
    std::fclose(file);
    counts_.clear();
  }

 private:
  Log() { dl_iterate_phdr(&find_program, this); }

  static int find_program(dl_phdr_info* object, size_t, void* self) {
    auto* log = static_cast<Log*>(self);
    for (int i = 0; i < object->dlpi_phnum; ++i) {
      const auto& segment = object->dlpi_phdr[i];
      if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X)) {
        log->base_ = object->dlpi_addr;
        log->begin_ = log->base_ + segment.p_vaddr;
        log->end_ = log->begin_ + segment.p_memsz;
      }
    }
    return 1;  // the first object is the program
  }

  std::vector<uintptr_t> return_addresses() const {
    void* frames[96];
    const int depth = backtrace(frames, 96);
    std::vector<uintptr_t> found;
    for (int i = 0; i < depth && found.size() < 40; ++i) {
      const auto address = reinterpret_cast<uintptr_t>(frames[i]);
      if (address >= begin_ && address < end_) found.push_back(address - base_);
    }
    return found;
  }

  static std::string text(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
  }

  std::mutex mutex_;
  std::map<std::pair<std::string, std::vector<uintptr_t>>, Count> counts_;
  const std::string folder_ = text("EMULATOR_LOG");
  const bool trace_ = setting("EMULATOR_TRACE", 0) != 0;
  uintptr_t base_ = 0, begin_ = 0, end_ = 0;
};

inline void count_launch(const std::string& operation) { Log::get().add(operation, {1}); }
inline void count_wait(const std::string& operation) { Log::get().add(operation, {0, 1}); }
inline void count_sent(const std::string& operation, long bytes, bool waits) {
  Log::get().add(operation, {0, waits, 1, bytes});
}
/// The host waits for what it reads, sooner or later.
inline void count_read(const std::string& operation, long bytes) { Log::get().add(operation, {0, 1, 0, 0, 1, bytes}); }

struct AtExit {
  AtExit() {
    Memory::get();
    Log::get();
  }
  ~AtExit() { Log::get().end_section(); }
};
inline AtExit at_exit;

}  // namespace emulator
