// The fuzzers of this project, and a short name for their checks. What a fuzzer is: io/sim/fuzz.h.
#pragma once

#include "io/sim/fuzz.h"

namespace spindle::fuzz {

extern const Fuzzer runtime_fuzzer;
extern const Fuzzer node_pool_fuzzer;
extern const Fuzzer message_pool_fuzzer;
extern const Fuzzer file_fuzzer;
extern const Fuzzer file_ring_fuzzer;
extern const Fuzzer storage_fuzzer;
extern const Fuzzer ewah_fuzzer;
extern const Fuzzer free_set_fuzzer;
extern const Fuzzer superblock_fuzzer;
extern const Fuzzer superblock_quorums_fuzzer;
extern const Fuzzer scan_buffer_fuzzer;
extern const Fuzzer grid_fuzzer;
extern const Fuzzer canary_fuzzer;
extern const Fuzzer canary_disk_fuzzer;
extern const Fuzzer canary_hang_fuzzer;
extern const Fuzzer canary_signal_fuzzer;
extern const Fuzzer canary_assert_fuzzer;
extern const Fuzzer canary_marks_fuzzer;

}  // namespace spindle::fuzz

#define FUZZ_CHECK(expression, what) SPINDLE_FUZZ_CHECK(expression, what)
