// Trying the ring out: a feature counts as there when an operation through it completes correctly, not when set-up
// returned 0.
#pragma once

#include <cstdint>
#include <string>

#include "io/uring/capabilities.h"
#include "io/uring/entry.h"
#include "io/uring/ring.h"
#include "runtime/result.h"

namespace spindle {

/// Sends a few no-ops through and checks that each comes back with its own user data. Errors: EPROTO when the
/// library and the kernel disagree about the ring's layout; the errno of io_uring_enter(2).
Result<void> try_ring(Ring& ring);
/// The ring's flags and features, with the reasons for what is missing.
void describe_ring(const Ring& ring, const RingOptions& options, Capabilities& capabilities);
/// Whether the ring has what only newer kernels have, or threads do it.
void describe_operations(const RingOperations& operations, bool wanted, Capabilities& capabilities);
/// Whether the kernel's statx tells the alignment for direct I/O; false: it is found by reading.
bool describe_alignment(bool wanted, Capabilities& capabilities);
/// Why a registration failed, and what would help. `size`: the bytes that were to be locked, 0 where it is a table.
std::string explain_registration_failure(int number, uint64_t size = 0);

}  // namespace spindle
