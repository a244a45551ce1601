"""Workers on the nodes of a Ray cluster, behind the interface of any pool.

::

    gateway            driver (child of the gateway)      a node of the cluster
    WorkerLink <-----> relay <--- a TCP connection ---->  relay <----> worker process
        unix socket, today's frames        bytes              unix socket, today's frames
                       calls <--------- Ray ----------->  actor

A worker and its link are the same as on one machine: between them bytes are carried, cut anywhere,
and nothing on the way reads them. Ray places an actor for each worker, starts it, and tells when
it or its node dies; the bytes go past it. It lives in a child of the gateway, since Ray ends the
process it is in when its control service is gone for a minute.

``ray`` is imported by :mod:`gateway.pool.cluster.driver` alone, which runs in that child.
"""
