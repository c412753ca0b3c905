// What a group listens on, and a buffer of it.
#pragma once

namespace gloo::transport {
class Device;

class UnboundBuffer {
 public:
  virtual ~UnboundBuffer();
};
}  // namespace gloo::transport
