/**
 * The auth events of one room as a graph of numbers: an index from which auth difference and conflicted state subgraph
 * follow at a cost that grows with what differs, not with the room.
 *
 * The graph counts, for one state at a time, how many events of the state and of its auth chain cite each event: an event is
 * in the auth chain while its count is above 0. Leaving an event out of the state, or taking one in, changes the counts of
 * what only that event holds. Counts need no order of the events, so that nothing rests on `depth`, which senders choose.
 * Levels (the longest way to an event without auth events) are computed here. Bit sets cost a walk over the whole chain for
 * each set; 40 bytes an event here. Loops, no recursion. Specification v1.19, rooms/v2 and rooms/v12, "Definitions".
 */

/** The numbers (from 1) of an event's auth events, the implied create event (v12+) included; undefined for one not known. */
export type AuthNumbersOf = (event: number) => readonly number[] | undefined;

/** Event numbers in one page of the table from number to vertex. */
const PAGE_SHIFT = 10;
const PAGE_ENTRIES = 1 << PAGE_SHIFT;
const FIRST_CAPACITY = 1024;

/** How far a vertex has been read. */
const Reading = { unread: 0, authEventsRead: 1, done: 2 } as const;

export class AuthGraph {
  readonly #authNumbersOf: AuthNumbersOf;
  /** Vertex + 1 by event number, 0 for none; pages by event number / 1024. */
  readonly #pages: (Uint32Array | undefined)[] = [];
  readonly #unknown: number[] = [];
  #size = 0;
  // By vertex.
  #events = new Uint32Array(FIRST_CAPACITY);
  #edgesFrom = new Uint32Array(FIRST_CAPACITY);
  #edgesTo = new Uint32Array(FIRST_CAPACITY);
  #reading = new Uint8Array(FIRST_CAPACITY);
  #levels = new Uint32Array(FIRST_CAPACITY);
  #inState = new Uint8Array(FIRST_CAPACITY);
  /** How many of the state and its auth chain cite the vertex; above 0: it is in the auth chain. */
  #citations = new Uint32Array(FIRST_CAPACITY);
  /** The last walk that came by. */
  #walks = new Uint32Array(FIRST_CAPACITY);
  #walk = 0;
  /** Vertices that are cited: those of vertex v from #edgesFrom[v] to #edgesTo[v]. */
  #edges = new Uint32Array(4 * FIRST_CAPACITY);
  #edgeCount = 0;

  constructor(authNumbersOf: AuthNumbersOf) {
    this.#authNumbersOf = authNumbersOf;
  }

  /** How many events the graph has taken in. */
  get size(): number {
    return this.#size;
  }

  /** Events that were not known when they were met: once one is, the graph must be made anew. */
  get unknownEvents(): readonly number[] {
    return this.#unknown;
  }

  /** Takes events into the state, or leaves them out of it; those taken in come first, so that what both hold stays. */
  changeState(added: Iterable<number>, removed: Iterable<number>): void {
    for (const event of added) this.#setInState(this.#vertexOf(event), 1);
    for (const event of removed) this.#setInState(this.#vertexOf(event), 0);
  }

  /** Whether an event is in the auth chain of the state. */
  isInAuthChain(event: number): boolean {
    return (this.#citations[this.#vertexOf(event)] as number) > 0;
  }

  /**
   * The auth difference of state sets that have the state in common, `own[i]` being what set i has beside it: "the union of
   * the auth chains for each event in S_i, and then taking every event that doesn't appear in every auth chain".
   */
  authDifference(own: readonly (readonly number[])[]): number[] {
    const setsByVertex = new Map<number, number>();
    for (const events of own) {
      const walk = this.#nextWalk();
      const toVisit = events.map((event) => this.#vertexOf(event));
      for (let vertex = toVisit.pop(); vertex !== undefined; vertex = toVisit.pop()) {
        for (let edge = this.#edgesFrom[vertex] as number; edge < (this.#edgesTo[vertex] as number); edge++) {
          const cited = this.#edges[edge] as number;
          // What is in the auth chain of the common state is in that of every set, with all that is behind it.
          if ((this.#citations[cited] as number) > 0 || this.#walks[cited] === walk) continue;
          this.#walks[cited] = walk;
          setsByVertex.set(cited, (setsByVertex.get(cited) ?? 0) + 1);
          toVisit.push(cited);
        }
      }
    }
    const difference: number[] = [];
    for (const [vertex, sets] of setsByVertex) if (sets < own.length) difference.push(this.#events[vertex] as number);
    return difference;
  }

  /**
   * The conflicted state subgraph (v12+): the union of all paths "between any pair of events in the conflicted state set
   * (including endpoints)". No path leads to a conflicted event from below the lowest of them: the walk ends there.
   */
  conflictedSubgraph(conflicted: readonly number[]): number[] {
    const starts = conflicted.map((event) => this.#vertexOf(event));
    let lowest = Number.POSITIVE_INFINITY;
    for (const vertex of starts) lowest = Math.min(lowest, this.#levels[vertex] as number);
    const reached = this.#nextWalk();
    const visited = starts.filter((vertex) => this.#isNewTo(reached, vertex));
    for (let at = 0; at < visited.length; at++) {
      const vertex = visited[at] as number;
      for (let edge = this.#edgesFrom[vertex] as number; edge < (this.#edgesTo[vertex] as number); edge++) {
        const cited = this.#edges[edge] as number;
        if ((this.#levels[cited] as number) > lowest && this.#isNewTo(reached, cited)) visited.push(cited);
      }
    }
    // From the lowest level up, so that of every vertex it is known whether its auth events lead to a conflicted one.
    const leading = this.#nextWalk();
    for (const vertex of starts) this.#walks[vertex] = leading;
    visited.sort((x, y) => (this.#levels[x] as number) - (this.#levels[y] as number));
    for (const vertex of visited) {
      for (let edge = this.#edgesFrom[vertex] as number; edge < (this.#edgesTo[vertex] as number); edge++) {
        if (this.#walks[this.#edges[edge] as number] === leading) this.#walks[vertex] = leading;
      }
    }
    return visited.filter((vertex) => this.#walks[vertex] === leading).map((vertex) => this.#events[vertex] as number);
  }

  #nextWalk(): number {
    // 2^32 walks on: what was marked by the first of them could seem to be marked by this one.
    if (this.#walk === 0xffff_ffff) {
      this.#walks.fill(0);
      this.#walk = 0;
    }
    this.#walk += 1;
    return this.#walk;
  }

  #isNewTo(walk: number, vertex: number): boolean {
    if (this.#walks[vertex] === walk) return false;
    this.#walks[vertex] = walk;
    return true;
  }

  #setInState(first: number, inState: 0 | 1): void {
    if (this.#inState[first] === inState) return;
    this.#inState[first] = inState;
    if ((this.#citations[first] as number) > 0) return;
    const change = inState === 1 ? 1 : -1;
    const changed = [first];
    for (let vertex = changed.pop(); vertex !== undefined; vertex = changed.pop()) {
      for (let edge = this.#edgesFrom[vertex] as number; edge < (this.#edgesTo[vertex] as number); edge++) {
        const cited = this.#edges[edge] as number;
        const before = this.#citations[cited] as number;
        this.#citations[cited] = before + change;
        const lastOne = change === 1 ? before === 0 : before === 1;
        if (lastOne && this.#inState[cited] === 0) changed.push(cited);
      }
    }
  }

  /** The vertex of an event; new ones are taken in with all that is behind them. */
  #vertexOf(event: number): number {
    const known = this.#findVertex(event);
    if (known >= 0) return known;
    const first = this.#addVertex(event);
    const toRead = [first];
    for (let vertex = toRead.at(-1); vertex !== undefined; vertex = toRead.at(-1)) {
      if (this.#reading[vertex] === Reading.unread) {
        this.#readAuthEvents(vertex, toRead);
        continue;
      }
      toRead.pop();
      if (this.#reading[vertex] === Reading.done) continue;
      // A cycle (possible in v1 and v2, where IDs are no hashes) ends at the vertex whose level is not known yet: 0.
      let level = 0;
      for (let edge = this.#edgesFrom[vertex] as number; edge < (this.#edgesTo[vertex] as number); edge++) {
        level = Math.max(level, 1 + (this.#levels[this.#edges[edge] as number] as number));
      }
      this.#levels[vertex] = level;
      this.#reading[vertex] = Reading.done;
    }
    return first;
  }

  #readAuthEvents(vertex: number, toRead: number[]): void {
    this.#reading[vertex] = Reading.authEventsRead;
    const event = this.#events[vertex] as number;
    const authNumbers = this.#authNumbersOf(event);
    if (authNumbers === undefined) this.#unknown.push(event);
    this.#edgesFrom[vertex] = this.#edgeCount;
    for (const number of authNumbers ?? []) {
      const known = this.#findVertex(number);
      const cited = known >= 0 ? known : this.#addVertex(number);
      if (this.#edgeCount === this.#edges.length) this.#edges = doubled(this.#edges);
      this.#edges[this.#edgeCount++] = cited;
      if (this.#reading[cited] === Reading.unread) toRead.push(cited);
    }
    this.#edgesTo[vertex] = this.#edgeCount;
  }

  #findVertex(event: number): number {
    return (this.#pages[event >>> PAGE_SHIFT]?.[event & (PAGE_ENTRIES - 1)] ?? 0) - 1;
  }

  #addVertex(event: number): number {
    if (this.#size === this.#events.length) this.#grow();
    let page = this.#pages[event >>> PAGE_SHIFT];
    if (page === undefined) {
      page = new Uint32Array(PAGE_ENTRIES);
      this.#pages[event >>> PAGE_SHIFT] = page;
    }
    const vertex = this.#size++;
    page[event & (PAGE_ENTRIES - 1)] = vertex + 1;
    this.#events[vertex] = event;
    return vertex;
  }

  #grow(): void {
    this.#events = doubled(this.#events);
    this.#edgesFrom = doubled(this.#edgesFrom);
    this.#edgesTo = doubled(this.#edgesTo);
    this.#reading = doubled(this.#reading);
    this.#levels = doubled(this.#levels);
    this.#inState = doubled(this.#inState);
    this.#citations = doubled(this.#citations);
    this.#walks = doubled(this.#walks);
  }
}

function doubled<T extends Uint32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(array: T): T {
  const larger = new (array.constructor as new (length: number) => T)(2 * array.length);
  larger.set(array);
  return larger;
}
