// The study project's aging pass, after its author's article: pop every job, age it, push it back.
// Two departures, both in its favour: the priority is a double, so that it does age, and the lock
// is left out. `study_aging time N PASSES` prints the fastest pass in ms; `study_aging order PASSES`
// reads priorities and prints in which order their jobs come out.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <vector>

using Clock = std::chrono::steady_clock;

struct Job {
    int id;
    std::string query;
    Clock::time_point startTime;
    double currPriority;
    int initPriority;
    std::shared_ptr<int> p;  // the study project's promise
};

struct JobComparator {
    bool operator()(const std::unique_ptr<Job>& a, const std::unique_ptr<Job>& b) const {
        return a->currPriority < b->currPriority;
    }
};

using Queue = std::priority_queue<std::unique_ptr<Job>, std::vector<std::unique_ptr<Job>>, JobComparator>;

static const double AGING_RATE = 0.2;
static const int ARRIVALS_PER_S = 100;

static void push(Queue& q, int id, double priority) {
    q.push(std::unique_ptr<Job>(new Job{id, "what is 2+2?", Clock::now(), priority, 1, nullptr}));
}

static std::unique_ptr<Job> pop(Queue& q) {
    std::unique_ptr<Job> top = std::move(const_cast<std::unique_ptr<Job>&>(q.top()));
    q.pop();
    return top;
}

static void age(Queue& q) {
    std::vector<std::unique_ptr<Job>> t;
    while (!q.empty()) t.push_back(pop(q));
    for (auto& i : t) {
        i->currPriority += AGING_RATE;
        q.push(std::move(i));
    }
}

int main(int argc, char** argv) {
    Queue q;
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "time" && argc == 4) {
        const int n = std::atoi(argv[2]);
        std::mt19937_64 random(n);
        std::uniform_int_distribution<int> priority(0, std::lround(AGING_RATE * n / ARRIVALS_PER_S));
        for (int i = 0; i < n; i++) push(q, i, priority(random));
        double fastest = 1e300;
        for (int i = 0; i < std::atoi(argv[3]); i++) {
            const std::clock_t start = std::clock();  // CPU time, like the rest
            age(q);
            fastest = std::min(fastest, 1e3 * double(std::clock() - start) / CLOCKS_PER_SEC);
        }
        std::printf("%.6f\n", fastest);
        return 0;
    }
    if (mode == "order" && argc == 3) {
        double priority;
        for (int i = 0; std::cin >> priority; i++) push(q, i, priority);
        for (int i = 0; i < std::atoi(argv[2]); i++) age(q);
        while (!q.empty()) std::printf("%d ", pop(q)->id);
        return 0;
    }
    return 2;
}
