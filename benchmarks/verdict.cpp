#include "benchmarks/verdict.h"

#include <algorithm>

#include "benchmarks/units.h"

namespace spindle::bench {

namespace {

double iops_median(const Series& series) { return series.spread(iops_of).median; }

const Series& best_of(const std::vector<Series>& curve) {
  SPINDLE_ASSERT(!curve.empty(), "a verdict on nothing");
  return *std::max_element(curve.begin(), curve.end(), [](const Series& left, const Series& right) {
    return iops_median(left) < iops_median(right);
  });
}

const Series& best_of(std::vector<Series>&&) = delete;  // the result would outlive what it is part of

std::string iops_text(const Series& series) { return text_of_count(iops_median(series)) + " IOPS"; }

std::string bandwidth_text(const std::vector<Series>& all) {
  double best = 0;
  for (const Series& series : all) {
    best = std::max(best, series.spread([](const Sample& sample) { return sample.bytes_per_second(); }).median);
  }
  return best >= 1e9 ? text_of("%.2f GB/s", best / 1e9) : text_of("%.0f MB/s", best / 1e6);
}

double percentile_median(const Series& series, double percent) {
  return series.spread([&](const Sample& sample) { return static_cast<double>(sample.latency_ns.percentile(percent)); })
      .median;
}

std::string latency_text(const Series& series) {
  return "p50 " + text_of_ns(percentile_median(series, 50)) + ", p99 " + text_of_ns(percentile_median(series, 99));
}

std::string depth_text(const Series& series) { return "depth " + std::to_string(series.job.depth); }

std::string percent_text(double ratio) {
  const std::string text = text_of("%+.1f %%", 100 * (ratio - 1));
  return text == "-0.0 %" ? "+0.0 %" : text;
}

std::string knee_line(const Findings& findings) {
  const Series& knee = knee_of(findings.reads);
  const Series& deepest = findings.reads.back();
  std::string line = "3. the knee: random reads reach nine tenths of their best at " + depth_text(knee) + " (" +
                     iops_text(knee) + ", " + latency_text(knee) + ")";
  if (knee.job.depth == deepest.job.depth) return line + "; they might gain from more\n";
  return line + "; at " + depth_text(deepest) + " p50 is " + text_of_ns(percentile_median(deepest, 50)) + "\n";
}

std::string cost_line(const Findings& findings) {
  const double plain_ns = 1e9 / iops_median(findings.nops[0]);
  const double own_ns = 1e9 / iops_median(findings.nops[1]);
  const std::vector<Series>& deepest = findings.beside.back();
  return "4. the runtime: " + text_of_ns(own_ns) + " per ring NOP against " + text_of_ns(plain_ns) +
         " of a plain loop (" + text_of("%+.0f ns", own_ns - plain_ns) + "); on this disk at " +
         depth_text(deepest[0]) + " " + percent_text(iops_median(deepest[1]) / iops_median(deepest[0])) +
         " IOPS beside it\n";
}

std::string fio_line(const Findings& findings) {
  std::string line = "5. beside fio: ";
  bool found = false;
  for (const std::vector<Series>& group : findings.beside) {
    if (group.size() < 3) continue;
    // The better of fio's variants is the yardstick.
    const std::vector<Series> variants(group.begin() + 2, group.end());
    const Series& fio = best_of(variants);
    line += (found ? "; " : "") + depth_text(fio) + " " + iops_text(group[1]) + " against " + iops_text(fio) + " (" +
            percent_text(iops_median(group[1]) / iops_median(fio)) + ")";
    found = true;
  }
  return line + (found ? "\n" : "not compared, " + findings.fio_absence + "\n");
}

}  // namespace

const Series& knee_of(const std::vector<Series>& curve) {
  const double enough = 0.9 * iops_median(best_of(curve));
  return *std::find_if(curve.begin(), curve.end(), [&](const Series& series) { return iops_median(series) >= enough; });
}

std::string verdict(const Findings& findings) {
  const Series& reads = best_of(findings.reads);
  const Series& writes = best_of(findings.writes);
  std::string text = "1. this disk: random reads " + iops_text(reads) + " (" + depth_text(reads) + "), random writes " +
                     iops_text(writes) + " (" + depth_text(writes) + "), sequential reads " +
                     bandwidth_text(findings.sequential_reads) + ", writes " +
                     bandwidth_text(findings.sequential_writes) + "\n";
  text += "2. latency alone, at depth 1: a 4 KiB read " + latency_text(findings.reads.front()) + "; a write " +
          latency_text(findings.writes.front()) + "\n";
  return text + knee_line(findings) + cost_line(findings) + fio_line(findings);
}

}  // namespace spindle::bench
