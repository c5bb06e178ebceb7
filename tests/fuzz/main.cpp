// spindle-fuzz: the fuzzers of this project as one program.
#include "io/sim/fuzz_main.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace spindle::fuzz;

// In the order in which `list` prints them.
constexpr const Fuzzer* fuzzers[] = {
    &runtime_fuzzer,       &node_pool_fuzzer,     &message_pool_fuzzer, &file_fuzzer,        &file_ring_fuzzer,
    &storage_fuzzer,       &ewah_fuzzer,          &free_set_fuzzer,     &superblock_fuzzer,  &superblock_quorums_fuzzer,
    &scan_buffer_fuzzer,   &grid_fuzzer,          &canary_fuzzer,       &canary_disk_fuzzer, &canary_hang_fuzzer,
    &canary_signal_fuzzer, &canary_assert_fuzzer, &canary_marks_fuzzer,
};

}  // namespace

int main(int argc, char** argv) { return fuzz_main(argc, argv, fuzzers); }
