// The command line: fio's spellings, and what becomes of them.
#include "benchmarks/options.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "benchmarks/fio_engine.h"

namespace spindle::bench {
namespace {

Checked<Options> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "spindle-bench");
  return parse_options(static_cast<int>(words.size()), words.data());
}

Options parsed(std::vector<const char*> words) {
  auto options = parse(std::move(words));
  CHECK(options.failure.line == "");
  return std::move(options.value);
}

bool has(const std::vector<std::string>& arguments, const std::string& wanted) {
  return std::find(arguments.begin(), arguments.end(), wanted) != arguments.end();
}

TEST_CASE("options as fio spells them, with = and without") {
  const Options options = parsed({"--rw=randrw", "--rwmixread=70", "--bs", "16k", "--iodepth=32", "--numjobs=4",
                                  "--fsync=8", "--sync=dsync", "--rate_iops=1k", "--randseed=9", "--runtime=2m"});
  CHECK(options.command == Command::run);
  CHECK(options.job.rw == Pattern::randrw);
  CHECK(options.job.read_percent == 70);
  CHECK(options.job.block_size == 16384);
  CHECK(options.job.depth == 32);
  CHECK(options.job.jobs_count == 4);
  CHECK(options.job.fsync_every == 8);
  CHECK(options.job.durable);
  CHECK(options.job.rate_iops == 1024);
  CHECK(options.job.random_seed == 9);
  CHECK(options.job.runtime_s == 120);
  CHECK(options.file.writes);
  CHECK(is_extended(options.job));
}

TEST_CASE("without a job it is the sweep; a plain job is not extended") {
  CHECK(parsed({}).command == Command::sweep);
  CHECK(parsed({"--size", "1g", "--report", "r.html"}).command == Command::sweep);
  const Options options = parsed({"--rw", "randread", "--numjobs", "2"});
  CHECK(options.command == Command::run);
  CHECK_FALSE(is_extended(options.job));
  CHECK_FALSE(options.file.writes);
}

TEST_CASE("several depths make a run of each") {
  CHECK(parsed({"--iodepth", "1,8,64"}).depths == std::vector<uint32_t>{1, 8, 64});
  CHECK(parsed({"--iodepth", "1,8", "--iodepth", "4"}).depths == std::vector<uint32_t>{4});
  for (const char* const bad : {"1,0", "", ",", "8,x", "-1", "5000"})
    CHECK_MESSAGE(parse({"--iodepth", bad}).failure, bad);
}

TEST_CASE("a verifying job stamps a new file in its own block size") {
  CHECK(parsed({"--rw", "read", "--verify", "--bs", "8k"}).file.verify_block_size == 8192);
  CHECK(parsed({"--rw", "read", "--bs", "8k"}).file.verify_block_size == 0);
}

TEST_CASE("fio gets the same job on its command line") {
  Options options = parsed({"--rw=randrw", "--rwmixread=70", "--numjobs=2", "--fsync=8", "--rate_iops=100"});
  options.job.size_bytes = 1 << 20;
  const auto arguments = fio_arguments(options.job, FioVariant::defaults);
  for (const char* const wanted : {"--rw=randrw", "--rwmixread=70", "--numjobs=2", "--group_reporting=1", "--fsync=8",
                                   "--rate_iops=100", "--size=1048576"}) {
    CHECK_MESSAGE(has(arguments, wanted), wanted);
  }
  options = parsed({"--rw=write", "--numjobs=2", "--sync=dsync", "--verify"});
  options.job.size_bytes = 1 << 20;
  const auto parts = fio_arguments(options.job, FioVariant::defaults);
  for (const char* const wanted : {"--size=524288", "--offset_increment=524288", "--sync=dsync", "--norandommap=0"}) {
    CHECK_MESSAGE(has(parts, wanted), wanted);
  }
}

TEST_CASE("a plain job gives fio nothing that it did not ask for") {
  Options options = parsed({"--rw=randread"});
  options.job.size_bytes = 1 << 20;
  for (const std::string& argument : fio_arguments(options.job, FioVariant::defaults)) {
    for (const char* const unwanted : {"--numjobs", "--fsync", "--sync", "--rate", "--verify", "--rwmix"}) {
      CHECK(argument.rfind(unwanted, 0) != 0);
    }
  }
}

}  // namespace
}  // namespace spindle::bench
