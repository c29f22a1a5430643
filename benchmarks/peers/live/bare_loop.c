/* The least that a server of event streams can do: epoll for those who come and go, one send() a held socket.
 *
 * usage: bare_loop PORT; a line on the standard input is broadcast to everybody held; the end of it is the end. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 20000
static char held[MOST]; /* by descriptor: 0 nobody, 1 a request is awaited, 2 held */
static int highest;

static void broadcast(const char *line, size_t length) {
    char frame[4096];
    int size = snprintf(frame, sizeof frame, "id: 1\nevent: notification\ndata: %.*s\n\n", (int)length, line);
    for (int fd = 0; fd <= highest; fd++)
        if (held[fd] == 2 && send(fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
            held[fd] = 0;
            close(fd);
        }
}

int main(int argc, char **argv) {
    static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n:\n\n";
    static char input[65536];
    size_t filled = 0;
    int one = 1, poller = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096)) {
        perror("bare_loop");
        return 1;
    }
    struct epoll_event change = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &change);
    change.data.fd = 0;
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &change);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poller, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                int sock;
                while ((sock = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (sock >= MOST) {
                        close(sock);
                        continue;
                    }
                    held[sock] = 1;
                    if (sock > highest)
                        highest = sock;
                    change.events = EPOLLIN;
                    change.data.fd = sock;
                    epoll_ctl(poller, EPOLL_CTL_ADD, sock, &change);
                }
            } else if (fd == 0) {
                ssize_t got = read(0, input + filled, sizeof input - filled);
                char *end;
                if (got <= 0)
                    return 0;
                filled += got;
                while ((end = memchr(input, '\n', filled))) {
                    broadcast(input, end - input);
                    filled -= end + 1 - input;
                    memmove(input, end + 1, filled);
                }
            } else {
                char request[4096]; /* a client of ours sends its whole request at once */
                if (recv(fd, request, sizeof request, 0) <= 0) {
                    held[fd] = 0;
                    close(fd);
                } else if (held[fd] == 1) {
                    held[fd] = 2;
                    send(fd, head, sizeof head - 1, MSG_NOSIGNAL);
                }
            }
        }
    }
}
