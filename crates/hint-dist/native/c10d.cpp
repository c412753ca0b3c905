// A C interface to the store and the Gloo group of c10d, as libtorch 2.11 has them.
//
// c10d's C++ interface is not stable, so this file belongs to one version of libtorch. Every function returns a status
// and puts the text of an error into `error`; nothing throws across the border.

#define USE_C10D_GLOO
#include <torch/version.h>
#if TORCH_VERSION_MAJOR != 2 || TORCH_VERSION_MINOR != 11
#error "native/c10d.cpp is written for libtorch 2.11"
#endif

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cstring>

namespace {

using c10d::ProcessGroupGloo;
using StorePtr = c10::intrusive_ptr<c10d::Store>;
using GroupPtr = c10::intrusive_ptr<ProcessGroupGloo>;
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

void hint_gloo_close(void* group) {
  delete static_cast<GroupPtr*>(group);
}

// Starts a collective: 0 all-to-all, 1 all-gather, 2 broadcast of `input` from `root`.
int hint_gloo_start(void* group, int operation, const at::Tensor* output, const at::Tensor* input, int root,
                    void** work, char* text, size_t capacity) {
  return guarded({text, capacity}, [&] {
    at::Tensor out = *output, in = *input;
    auto& gloo = *static_cast<GroupPtr*>(group);
    WorkPtr started;
    switch (operation) {
      case 0: {
        std::vector<int64_t> equal;
        started = gloo->alltoall_base(out, in, equal, equal, c10d::AllToAllOptions());
        break;
      }
      case 1:
        started = gloo->_allgather_base(out, in, c10d::AllgatherOptions());
        break;
      case 2: {
        std::vector<at::Tensor> tensors{in};
        c10d::BroadcastOptions options;
        options.rootRank = root;
        started = gloo->broadcast(tensors, options);
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
