// Ctrl-C: a request to stop cleanly. Engines look at it once per turn (through Meter), the programs between
// runs.
#pragma once

namespace spindle::bench {

/// SIGINT, SIGTERM and SIGHUP from now on only set the flag, and interrupt blocking calls (EINTR). A second
/// one ends the process at once. SIGPIPE and SIGXFSZ are ignored: the calls concerned return an errno.
void catch_interrupts() noexcept;

bool interrupted() noexcept;

}  // namespace spindle::bench
