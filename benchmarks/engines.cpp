#include "benchmarks/engines.h"

#include "benchmarks/fio_engine.h"
#include "benchmarks/plain_loop.h"

namespace spindle::bench {

namespace {
constexpr uint32_t batched_depth_min = 64;
}

std::unique_ptr<Engine> make_engine(std::string_view name) {
  if (name == "spindle") return make_spindle_engine();
  if (name == "spindle-task") return make_spindle_engine(true);
  if (name == "plain") return make_plain_engine();
  if (name == "fio") return make_fio_engine(FioVariant::defaults);
  if (name == "fio-batched") return make_fio_engine(FioVariant::batched);
  return nullptr;
}

std::vector<std::unique_ptr<Engine>> make_engines_to_compare(const Job& job) {
  std::vector<std::unique_ptr<Engine>> engines;
  engines.push_back(make_plain_engine());
  engines.push_back(make_spindle_engine());
  if (!refuse_fio(job) && fio_installed()) {
    engines.push_back(make_fio_engine(FioVariant::defaults));
    if (job.depth >= batched_depth_min) engines.push_back(make_fio_engine(FioVariant::batched));
  }
  return engines;
}

}  // namespace spindle::bench
