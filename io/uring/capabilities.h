// What the ring can do here, found by trying: one entry per feature, with the reason for a loss and its remedy.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace spindle {

struct Capability {
  std::string name;
  bool in_use = false;
  std::string reason;  ///< of a loss: kernel, library, limit, or "forced off"
  std::string remedy;
};

class Capabilities {
 public:
  void add(Capability capability) { entries_.push_back(std::move(capability)); }
  /// Adds it, in the place of one with the same name.
  void set(Capability capability);
  const std::vector<Capability>& entries() const noexcept { return entries_; }
  bool in_use(const std::string& name) const noexcept;
  /// One line per feature.
  std::string text() const;

  std::string kernel;           ///< release, as uname(2) says
  uint32_t entries_asked = 0;   ///< of the ring
  uint32_t entries_got = 0;

 private:
  std::vector<Capability> entries_;
};

/// One line for a failed io_uring_setup(2): the cause, and the knob that governs it.
std::string explain_setup_failure(int number);

}  // namespace spindle
