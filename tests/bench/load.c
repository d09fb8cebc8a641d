/* load: HTTP/1.1 load from one core that never sleeps, and what it cost the server meanwhile.

   usage: load PORT CONNECTIONS WARM_SECONDS SECONDS RATE CORE PID[,PID...] UPSTREAM REQUEST_FILE...

   Why it never sleeps: a client that waits in the kernel has to be woken by the server's every send, and on a virtual
   machine that wake-up is charged to the server. So epoll is asked with a timeout of 0, in a loop that fills its core.

   RATE 0 is a closed loop: each connection sends its next request when it has its answer. Otherwise requests are sent at
   RATE a second whether answers come or not, and a latency counts from when the request was due.
   Where UPSTREAM is not 0 the same loop is also the system behind a gateway: it listens there, and answers whatever it is asked
   by 200 bytes. (A process of its own would have to be woken for each call, and share the core with this one.)
   The connections take turns with the request files. Prints one JSON object; the processor time is that of the PIDs, from
   /proc, and `foreign` is the share of CORE that went to others. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LARGEST_ANSWER 65536
#define MOST_LATENCIES 4000000
#define MOST_PROCESSES 64

struct request { char *bytes; size_t length; };
struct connection { int fd; int busy, behind; size_t have, need; double since; struct request *next; char answer[LARGEST_ANSWER]; };

static struct request *requests;
static int request_count;
static float *latencies;
static long latency_count, answered, refused;

static void fail(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* user + system seconds of one process with all its threads; -1 where there is none */
static double processor_seconds(const char *pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    char *after_name = strrchr(text, ')');
    unsigned long user, system;
    if (!after_name || sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return -1;
    return (double)(user + system) / sysconf(_SC_CLK_TCK);
}

/* what the processes in LIST have used since *before was filled; the first call fills it */
static double used(const char *list, double *before, int first) {
    double sum = 0;
    int index = 0;
    char *copy = strdup(list), *rest = NULL;
    for (char *pid = strtok_r(copy, ",", &rest); pid && index < MOST_PROCESSES; pid = strtok_r(NULL, ",", &rest), index++) {
        double seconds = processor_seconds(pid);
        if (first) before[index] = seconds;
        else if (seconds >= 0 && before[index] >= 0) sum += seconds - before[index];
    }
    free(copy);
    return sum;
}

/* seconds that CORE has been busy */
static double core_seconds(int core) {
    char name[16], line[512];
    snprintf(name, sizeof name, "cpu%d ", core);
    FILE *file = fopen("/proc/stat", "r");
    double busy = 0;
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, name, strlen(name))) {
            unsigned long user, nice, system, idle, waiting, hard, soft, steal;
            if (sscanf(line + strlen(name), "%lu %lu %lu %lu %lu %lu %lu %lu", &user, &nice, &system, &idle, &waiting, &hard,
                       &soft, &steal) == 8)
                busy = user + nice + system + hard + soft + steal;
        }
    if (file) fclose(file);
    return busy / sysconf(_SC_CLK_TCK);
}

static void read_request(const char *path, struct request *into) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    into->bytes = malloc(LARGEST_ANSWER);
    into->length = fread(into->bytes, 1, LARGEST_ANSWER, file);
    fclose(file);
}

static void ask(struct connection *one, double since) {
    one->have = 0;
    one->need = 0;
    one->busy = 1;
    one->since = since;
    ssize_t sent = send(one->fd, one->next->bytes, one->next->length, MSG_NOSIGNAL);
    if (sent != (ssize_t)one->next->length) fail("send");
    one->next = one->next + 1 == requests + request_count ? requests : one->next + 1;
}

/* Take what has come; whether the answer is whole. */
static int take(struct connection *one, double counted_from) {
    ssize_t got = recv(one->fd, one->answer + one->have, LARGEST_ANSWER - 1 - one->have, 0);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) { fprintf(stderr, "the server closed a connection\n"); exit(2); }
    one->have += got;
    one->answer[one->have] = 0;
    if (!one->need) {
        char *end = strstr(one->answer, "\r\n\r\n");
        if (!end) return 0;
        char *length = strcasestr(one->answer, "\r\ncontent-length:");
        if (!length || length > end) { fprintf(stderr, "an answer without Content-Length:\n%s\n", one->answer); exit(3); }
        one->need = end + 4 - one->answer + atol(length + 17);
        if (one->answer[9] != '2' && !refused++) fprintf(stderr, "not a success:\n%s\n", one->answer);
    }
    if (one->have < one->need) return 0;
    double then = now();
    if (then >= counted_from) {
        answered++;
        if (latency_count < MOST_LATENCIES) latencies[latency_count++] = (then - one->since) * 1e6;
    }
    one->busy = 0;
    return 1;
}

/* what the system behind a gateway answers, whatever it is asked */
static const char said[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n"
    "{\"order_id\":\"ORD-2026-000017\",\"customer_id\":1234567,\"status\":\"accepted\",\"total\":1234.5,\"line_count\":2,"
    "\"express\":true,\"message\":\"Your order is accepted and goes to the warehouse today, by bicycle.   \"}";

/* Take what a gateway asks, and answer what is whole. */
static void serve(struct connection *one) {
    ssize_t got = recv(one->fd, one->answer + one->have, LARGEST_ANSWER - 1 - one->have, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { close(one->fd); free(one); return; }
    one->have += got;
    one->answer[one->have] = 0;
    for (;;) {
        char *end = strstr(one->answer, "\r\n\r\n");
        if (!end) return;
        size_t need = end + 4 - one->answer;
        char *length = strcasestr(one->answer, "\r\ncontent-length:"), *coding = strcasestr(one->answer, "\r\ntransfer-encoding:");
        if (length && length < end) need += atol(length + 17);
        else if (coding && coding < end) {
            char *last = strstr(end + 4, "0\r\n\r\n");
            if (!last) return;
            need = last + 5 - one->answer;
        }
        if (one->have < need) return;
        if (send(one->fd, said, sizeof said - 1, MSG_NOSIGNAL) < 0) { close(one->fd); free(one); return; }
        memmove(one->answer, one->answer + need, one->have - need + 1);
        one->have -= need;
    }
}

static int listen_at(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 256)) fail("listen");
    return fd;
}

static void accept_all(int listener, int poll) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *one = calloc(1, sizeof *one);
        one->fd = fd;
        one->behind = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double part) { return latency_count ? latencies[(long)((latency_count - 1) * part)] : 0; }

int main(int count, char **words) {
    if (count < 10) {
        fprintf(stderr, "usage: load PORT CONNECTIONS WARM SECONDS RATE CORE PIDS UPSTREAM REQUEST...\n");
        return 64;
    }
    int port = atoi(words[1]), connection_count = atoi(words[2]), core = atoi(words[6]);
    double warm = atof(words[3]), seconds = atof(words[4]), rate = atof(words[5]);
    const char *pids = words[7];
    int listener = atoi(words[8]) ? listen_at(atoi(words[8])) : -1;
    request_count = count - 9;
    requests = calloc(request_count, sizeof *requests);
    for (int i = 0; i < request_count; i++) read_request(words[9 + i], requests + i);
    latencies = malloc(MOST_LATENCIES * sizeof *latencies);

    int poll = epoll_create1(0);
    struct epoll_event calls = {.events = EPOLLIN, .data.ptr = NULL};
    if (listener >= 0) epoll_ctl(poll, EPOLL_CTL_ADD, listener, &calls);
    struct connection *all = calloc(connection_count, sizeof *all);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    for (int i = 0; i < connection_count; i++) {
        struct connection *one = all + i;
        int on = 1;
        one->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(one->fd, (void *)&address, sizeof address)) fail("connect");
        setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(one->fd, F_SETFL, O_NONBLOCK);
        one->next = requests + i % request_count;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
        epoll_ctl(poll, EPOLL_CTL_ADD, one->fd, &event);
    }
    double start = now(), from = start + warm, until = from + seconds, due = start, busy = 0, before[MOST_PROCESSES];
    int counting = 0;
    if (rate == 0)
        for (int i = 0; i < connection_count; i++) ask(all + i, now());
    struct epoll_event events[256];
    for (;;) {
        int ready = epoll_wait(poll, events, 256, 0);
        double t = now();
        if (!counting && t >= from) {
            counting = 1;
            used(pids, before, 1);
            busy = core_seconds(core);
            from = t = now();
            until = from + seconds;
        }
        if (t >= until) break;
        for (int i = 0; i < ready; i++) {
            struct connection *one = events[i].data.ptr;
            if (!one) accept_all(listener, poll);
            else if (one->behind) serve(one);
            else if (take(one, from) && rate == 0) ask(one, now());
        }
        for (int i = 0; rate > 0 && due <= t && i < connection_count; i++)
            if (!all[i].busy) {
                ask(all + i, due);
                due += 1 / rate;
            }
    }
    double took = now() - from;
    double cpu = used(pids, before, 0);
    busy = core_seconds(core) - busy;
    qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"requests\":%ld,\"seconds\":%.4f,\"refused\":%ld,\"p50_us\":%.0f,\"p99_us\":%.0f,\"cpu_seconds\":%.4f,\"foreign\":%.3f}\n",
           answered, took, refused, quantile(0.5), quantile(0.99), cpu, (busy - cpu) / took);
    return 0;
}
