// "Why is it stuck?": the tree of tasks as text, at any moment.
//
//     root task from main.cpp:40
//       scope from server.cpp:12
//         task from server.cpp:20
//           read of 4096 bytes at 8192 on data.db, for 1200 us
//             awaited at store.cpp:88 in load_block
//             awaited at server.cpp:31 in serve
//
// A task without a leaf below it is running or in the ready queue.
#pragma once

#include <string>

namespace spindle {

class Loop;

/// One line per context, leaf and await, indented by depth. Ages only with the ledger. Does not suspend.
std::string task_tree(Loop& loop);

}  // namespace spindle
