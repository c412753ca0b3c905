// A C interface to the store and the groups of c10d, as libtorch 2.11 has them.
//
// c10d's C++ interface is not stable, so this file belongs to one version of libtorch. Every function returns a status
// and puts the text of an error into `text`; nothing throws across the border. The group of NCCL is made by a library of
// its own, from `nccl.cpp`; all else goes through c10d's common interface of groups.

#define USE_C10D_GLOO
#include <torch/version.h>
#if TORCH_VERSION_MAJOR != 2 || TORCH_VERSION_MINOR != 11
#error "native/c10d.cpp is written for libtorch 2.11"
#endif

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#ifdef HINT_NCCL
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace {

using c10d::ProcessGroupGloo;
using StorePtr = c10::intrusive_ptr<c10d::Store>;
using GroupPtr = c10::intrusive_ptr<c10d::Backend>;
using WorkPtr = c10::intrusive_ptr<c10d::Work>;
using Millis = std::chrono::milliseconds;

constexpr int kDone = 0;
constexpr int kPending = 1;
constexpr int kFailed = 2;

struct Error {
  char* text;
  size_t capacity;

  void put(const char* message) const {
    std::strncpy(text, message, capacity - 1);
    text[capacity - 1] = '\0';
  }
};

template <typename F>
int guarded(Error error, F&& body) {
  try {
    return body();
  } catch (const c10::Error& e) {
    error.put(e.what_without_backtrace());
  } catch (const std::exception& e) {
    error.put(e.what());
  } catch (...) {
    error.put("an unknown exception");
  }
  return kFailed;
}

StorePtr& store_of(void* store) {
  return *static_cast<StorePtr*>(store);
}

std::vector<uint8_t> bytes(const char* data, size_t len) {
  return std::vector<uint8_t>(data, data + len);
}

// Copies `value` into `out`; its length goes to `len`.
int give(const std::vector<uint8_t>& value, char* out, size_t capacity, size_t* len) {
  TORCH_CHECK(value.size() <= capacity, "a value of the store has ", value.size(), " bytes");
  std::memcpy(out, value.data(), value.size());
  *len = value.size();
  return kDone;
}

GroupPtr& group_of(void* group) {
  return *static_cast<GroupPtr*>(group);
}

#ifdef HINT_NCCL
// The functions of `nccl.cpp`.
struct Nccl {
  using New = c10d::Backend* (*)(const StorePtr&, int, int, int, int64_t);
  using Identify = void (*)(int, char*);
  using MakeId = void (*)(char*);
  using Connect = c10d::Backend* (*)(const char*, int, int, int, int64_t);
  New create;
  Identify identify;
  MakeId make_id;
  Connect connect;
};

void* loaded(void* found) {
  if (found == nullptr) {
    const char* problem = dlerror();
    TORCH_CHECK(false, "libtorch's CUDA library does not fit (", problem != nullptr ? problem : "no address", ")");
  }
  return found;
}

// Loads the library whose bytes are `image`. It needs libtorch's CUDA library, which the loader finds by its name if
// this process has it already.
void* load(const char* image, size_t len) {
  int file = memfd_create("hint_nccl", MFD_CLOEXEC);
  TORCH_CHECK(file >= 0, "this system holds no files in memory: ", std::strerror(errno));
  size_t done = 0;
  while (done < len) {
    ssize_t written = write(file, image + done, len - done);
    if (written <= 0) break;
    done += static_cast<size_t>(written);
  }
  auto path = "/proc/self/fd/" + std::to_string(file);
  void* library = done == len ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  close(file);
  TORCH_CHECK(done == len, "the memory is full");
  return loaded(library);
}

const Nccl& nccl(const char* image, size_t len) {
  static const Nccl functions = [&]() -> Nccl {
    // The emulated device of this repository has the functions itself.
    bool is_there = dlsym(RTLD_DEFAULT, "hint_nccl_new") != nullptr;
    void* library = is_there ? RTLD_DEFAULT : load(image, len);
    return {reinterpret_cast<Nccl::New>(loaded(dlsym(library, "hint_nccl_new"))),
            reinterpret_cast<Nccl::Identify>(loaded(dlsym(library, "hint_nccl_uuid"))),
            reinterpret_cast<Nccl::MakeId>(loaded(dlsym(library, "hint_nccl_make_id"))),
            reinterpret_cast<Nccl::Connect>(loaded(dlsym(library, "hint_nccl_connect")))};
  }();
  return functions;
}
#endif

}  // namespace

extern "C" {

// A client of the store at `host:port`, which this process serves if `serves` is not 0. Keys begin with `prefix`.
int hint_store_open(const char* host, uint16_t port, int serves, const char* prefix, int64_t timeout_ms, void** out,
                    char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves != 0;
    options.waitWorkers = false;
    options.timeout = Millis(timeout_ms);
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    *out = new StorePtr(c10::make_intrusive<c10d::PrefixStore>(prefix, tcp));
    return kDone;
  });
}

void hint_store_close(void* store) {
  delete static_cast<StorePtr*>(store);
}

int hint_store_set_timeout(void* store, int64_t timeout_ms, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    store_of(store)->setTimeout(Millis(timeout_ms));
    return kDone;
  });
}

int hint_store_set(void* store, const char* key, const char* value, size_t len, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    store_of(store)->set(key, bytes(value, len));
    return kDone;
  });
}

// The value of a key; `kPending` if there is none.
int hint_store_get(void* store, const char* key, char* out, size_t out_capacity, size_t* len, char* text,
                   size_t capacity) {
  return guarded({text, capacity}, [&] {
    if (!store_of(store)->check({key})) return kPending;
    return give(store_of(store)->get(key), out, out_capacity, len);
  });
}

// Sets a key that is not there or empty; `out` is what the key holds afterwards.
int hint_store_put_first(void* store, const char* key, const char* value, size_t len, char* out, size_t out_capacity,
                         size_t* out_len, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    return give(store_of(store)->compareSet(key, {}, bytes(value, len)), out, out_capacity, out_len);
  });
}

int hint_store_add(void* store, const char* key, int64_t amount, int64_t* result, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    *result = store_of(store)->add(key, amount);
    return kDone;
  });
}

// The group of `world_size` processes that meet in `store`. It listens on the address `host` of this machine.
int hint_gloo_open(void* store, int rank, int world_size, const char* host, int64_t timeout_ms, void** out, char* text,
                   size_t capacity) {
  return guarded({text, capacity}, [&] {
    auto options = ProcessGroupGloo::Options::create(Millis(timeout_ms));
    options->devices.push_back(ProcessGroupGloo::createDeviceForHostname(host));
    *out = new GroupPtr(c10::make_intrusive<ProcessGroupGloo>(store_of(store), rank, world_size, options));
    return kDone;
  });
}

#ifdef HINT_NCCL
// Loads the library whose bytes are `image`, unless it is loaded. `out` gets the 16 bytes that no other GPU has.
int hint_nccl_identify(const char* image, size_t len, int device, char* out, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    nccl(image, len).identify(device, out);
    return kDone;
  });
}

// The group of `world_size` processes that meet in `store`, each with the GPU `device` of its own. Waits for them all.
int hint_nccl_open(const char* image, size_t len, void* store, int rank, int world_size, int device,
                   int64_t timeout_ms, void** out, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    auto* group = nccl(image, len).create(store_of(store), rank, world_size, device, timeout_ms);
    *out = new GroupPtr(GroupPtr::reclaim(group));
    return kDone;
  });
}

// The 128 bytes by which the processes of a new group find each other without a store.
int hint_nccl_id(const char* image, size_t len, char* out, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    nccl(image, len).make_id(out);
    return kDone;
  });
}

// The group of `world_size` processes that have the 128 bytes of `id`. Waits for them all.
int hint_nccl_join(const char* image, size_t len, const char* id, int rank, int world_size, int device,
                   int64_t timeout_ms, void** out, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    auto* group = nccl(image, len).connect(id, rank, world_size, device, timeout_ms);
    *out = new GroupPtr(GroupPtr::reclaim(group));
    return kDone;
  });
}

// Ends the operations of this rank, also those that are under way. No other follows.
int hint_group_abort(void* group, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    group_of(group)->abort();
    return kDone;
  });
}

// Leaves a group whose operations are done.
int hint_group_shutdown(void* group, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    group_of(group)->shutdown();
    return kDone;
  });
}

// Waits for an operation of GPUs by asking them: `kPending` if it is not done within `timeout_ms`.
int hint_work_poll(void* work, int64_t timeout_ms, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    using Clock = std::chrono::steady_clock;
    using Micros = std::chrono::microseconds;
    auto& started = *static_cast<WorkPtr*>(work);
    auto begin = Clock::now();
    while (!started->isCompleted()) {
      auto waited = Clock::now() - begin;
      if (waited >= Millis(timeout_ms)) return kPending;
      // A short operation is asked often, a long one takes no core.
      auto pause = std::chrono::duration_cast<Micros>(waited) / 8;
      std::this_thread::sleep_for(std::clamp(pause, Micros(10), Micros(1000)));
    }
    if (auto failure = started->exception()) std::rethrow_exception(failure);
    // The operation is done: this only frees what it held.
    started->wait();
    return kDone;
  });
}
#endif

void hint_group_close(void* group) {
  delete static_cast<GroupPtr*>(group);
}

// Starts a collective: 0 all-to-all, 1 all-gather, 2 broadcast of `input` from `root`.
int hint_group_start(void* group, int operation, const at::Tensor* output, const at::Tensor* input, int root,
                     void** work, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    at::Tensor out = *output, in = *input;
    auto& backend = group_of(group);
    WorkPtr started;
    switch (operation) {
      case 0: {
        std::vector<int64_t> equal;
        started = backend->alltoall_base(out, in, equal, equal, c10d::AllToAllOptions());
        break;
      }
      case 1:
        started = backend->_allgather_base(out, in, c10d::AllgatherOptions());
        break;
      case 2: {
        std::vector<at::Tensor> tensors{in};
        c10d::BroadcastOptions options;
        options.rootRank = root;
        started = backend->broadcast(tensors, options);
        break;
      }
      default:
        TORCH_CHECK(false, "unknown operation ", operation);
    }
    *work = new WorkPtr(std::move(started));
    return kDone;
  });
}

// Waits for a collective: `kPending` if it is not done within `timeout_ms`.
int hint_work_wait(void* work, int64_t timeout_ms, char* text, size_t capacity) {
  auto& started = *static_cast<WorkPtr*>(work);
  auto wait = [&](Millis limit) {
    return guarded({text, capacity}, [&] {
      started->wait(limit);
      return kDone;
    });
  };
  int status = wait(Millis(timeout_ms));
  if (status != kFailed) return status;
  // It may have failed, or have been done just after the wait was over: a completed one says which.
  return started->isCompleted() ? wait(Millis(0)) : kPending;
}

void hint_work_close(void* work) {
  delete static_cast<WorkPtr*>(work);
}
}
