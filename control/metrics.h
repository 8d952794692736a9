// SPDX-License-Identifier: Apache-2.0
// The Prometheus endpoint. Nothing is counted here: each scrape sums the workers' own counters and
// reads the published view.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "control/manager.h"
#include "crab/v1/access.pb.h"

namespace prometheus {
class Exposer;
class Collectable;
}  // namespace prometheus

namespace crab {

// What the control service's entrance has counted (control/identity/entrance.h). Any thread.
using DescribeAccess = std::function<v1::GetAccessResponse()>;

class Metrics {
 public:
  // Listens on ADDRESS:PORT. Throws std::runtime_error with one line if that fails. The dataplane
  // must outlive *this.
  Metrics(const std::string& listen, std::shared_ptr<const Manager> manager,
          const Dataplane& dataplane, DescribeAccess access = {});
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

 private:
  std::shared_ptr<prometheus::Collectable> collector_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

// What a scrape returns, for tests too.
std::shared_ptr<prometheus::Collectable> make_collector(std::shared_ptr<const Manager> manager,
                                                        const Dataplane& dataplane,
                                                        DescribeAccess access = {});

}  // namespace crab
