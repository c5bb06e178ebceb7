// Trying the ring out: a feature counts as there when an operation through it completes correctly, not when set-up
// returned 0.
#pragma once

#include <cstdint>
#include <string>

#include "io/uring/capabilities.h"
#include "io/uring/ring.h"
#include "runtime/result.h"

namespace spindle {

/// Sends a few no-ops through and checks that each comes back with its own user data. Errors: EPROTO when the
/// library and the kernel disagree about the ring's layout; the errno of io_uring_enter(2).
Result<void> try_ring(Ring& ring);
/// The ring's flags and features, with the reasons for what is missing.
void describe_ring(const Ring& ring, const RingOptions& options, Capabilities& capabilities);
/// The running kernel's version, as uname(2) says.
bool kernel_is_at_least(uint32_t major, uint32_t minor) noexcept;
/// Why a registration failed, and what would help. `size`: the bytes that were to be locked, 0 where it is a table.
std::string explain_registration_failure(int number, uint64_t size = 0);

}  // namespace spindle
