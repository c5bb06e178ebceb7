// fio (https://github.com/axboe/fio) as a yardstick: the same job, run as a child process.
//
// Its latencies come from the bins of fio's json+ output, which have the resolution of
// benchmarks/histogram.h, and are fio's "lat": from the submission to the completion, as ours are. CPU time
// is that of fio's job thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "benchmarks/job.h"

namespace spindle::bench {

enum class FioVariant : uint8_t {
  defaults,  ///< io_uring with registered file and buffers, everything else as fio has it
  batched,   ///< and submissions and completions in batches of 32, as a careful user sets it at depth >= 64
};

bool fio_installed();

/// "fio-3.33", or empty.
std::string fio_version();

/// Why fio can't run the job; empty: it can.
Failure refuse_fio(const Job& job);

/// The command line of a job, for run_process().
std::vector<std::string> fio_arguments(const Job& job, FioVariant variant);

/// Reads fio's json+ output into a sample; the sample's error says what is wrong with it.
Sample sample_of_fio_json(const std::string& text, const Job& job);

std::unique_ptr<Engine> make_fio_engine(FioVariant variant);

}  // namespace spindle::bench
