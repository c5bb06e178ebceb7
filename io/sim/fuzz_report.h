// What a failure leaves behind: the one command that repeats it, on standard error, and its seed in a file.
//
// Whatever ends the process reports it: a failed check or assertion (SIGABRT), a fatal signal, a sanitizer's report,
// the SIGTERM of a test that takes too long. So all is laid out before a run begins, and the handlers only write it.
#pragma once

#include <string>

namespace spindle::fuzz {

/// What the run that is about to begin leaves if it fails.
struct FailureReport {
  std::string command;  ///< with its line feed
  // The seed's file; an empty path: it is not saved.
  std::string folder;
  std::string path;
  std::string content;
  std::string saved_line;    ///< said when it was saved
  std::string unsaved_line;  ///< said when it could not be
};

/// From now on, failures of this process are reported. Once, before the first run.
void watch_failures();
/// Takes the place of the former report.
void set_failure_report(FailureReport report);
/// What fails from now on leaves no report.
void clear_failure_report() noexcept;
/// Prints and saves what was laid out. Once; more has no effect.
void report_failure() noexcept;
/// Signals have their usual effect again, and nothing is reported: for a child, whose parent looks at how it ended.
void stop_watching_failures() noexcept;

}  // namespace spindle::fuzz
