// SPDX-License-Identifier: Apache-2.0
// The Prometheus endpoint. Nothing is counted here: each scrape sums the workers' own counters and
// reads the published view.
#pragma once

#include <memory>
#include <string>

#include "control/manager.h"

namespace prometheus {
class Exposer;
class Collectable;
}  // namespace prometheus

namespace crab {

class Metrics {
 public:
  // Listens on ADDRESS:PORT. Throws std::runtime_error with one line if that fails. The dataplane
  // must outlive *this.
  Metrics(const std::string& listen, std::shared_ptr<const Manager> manager,
          const Dataplane& dataplane);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

 private:
  std::shared_ptr<prometheus::Collectable> collector_;
  std::unique_ptr<prometheus::Exposer> exposer_;
};

// What a scrape returns, for tests too.
std::shared_ptr<prometheus::Collectable> make_collector(std::shared_ptr<const Manager> manager,
                                                        const Dataplane& dataplane);

}  // namespace crab
