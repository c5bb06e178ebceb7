#include "runtime/task_tree.h"

#include "runtime/cancel.h"
#include "runtime/leaf.h"
#include "runtime/loop.h"
#include "runtime/promise.h"

namespace spindle {

namespace {

void append_place(std::string& text, const std::source_location& at) {
  const std::string path = at.file_name();
  const size_t slash = path.rfind('/');
  text += slash == std::string::npos ? path : path.substr(slash + 1);
  text += ":" + std::to_string(at.line());
}

const char* name_of(CancelContext::Kind kind) noexcept {
  switch (kind) {
    case CancelContext::Kind::strand: return "task";
    case CancelContext::Kind::scope: return "scope";
    case CancelContext::Kind::timeout: return "timeout";
    case CancelContext::Kind::shield: return "shield";
  }
  return "context";
}

void append_leaf(std::string& text, const Leaf& leaf, const std::string& indent, Loop& loop) {
  text += indent;
  leaf.explain(text);
  if (leaf.state() == Leaf::State::queued) text += " (done, about to run)";
#if SPINDLE_LEDGER
  const Duration age = loop.now() - leaf.waiting_since();
  text += ", for " + std::to_string(age.count() / 1000) + " us";
#else
  static_cast<void>(loop);
#endif
  text += "\n";
  for (const PromiseBase* task = leaf.awaiting(); task != nullptr; task = task->parent) {
    text += indent + "  awaited at ";
    append_place(text, task->awaits_at);
    text += std::string(" in ") + task->awaits_at.function_name() + "\n";
  }
}

void append_context(std::string& text, const CancelContext& context, size_t depth, Loop& loop) {
  const std::string indent(2 * depth, ' ');
  text += indent + (context.parent() == nullptr ? "root " : "") + name_of(context.kind()) + " from ";
  append_place(text, context.opened_at());
  const bool begins_trace = context.parent() == nullptr || context.parent()->trace_id() != context.trace_id();
  if (context.trace_id() != 0 && begins_trace) text += ", trace " + std::to_string(context.trace_id());
  if (context.is_cancelled()) text += " (cancelled)";
  text += "\n";
  if (const Leaf* leaf = context.waiting_leaf()) append_leaf(text, *leaf, indent + "  ", loop);
}

}  // namespace

std::string task_tree(Loop& loop) {
  std::string text;
  const CancelContext* at = loop.root();
  size_t depth = 0;
  while (at != nullptr) {
    append_context(text, *at, depth, loop);
    if (at->first_child() != nullptr) {
      at = at->first_child();
      ++depth;
      continue;
    }
    while (at != nullptr && at->next_sibling() == nullptr) {
      at = at->parent();
      --depth;
    }
    if (at != nullptr) at = at->next_sibling();
  }
  if (text.empty()) text = "no task\n";
  return text;
}

}  // namespace spindle
