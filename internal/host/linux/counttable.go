package linux

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/mip6/mip6/mobility"
	"golang.org/x/sys/unix"
)

// The table with the counters, as nft list table ip6 mip6-count shows it. It belongs to our
// socket (Linux 5.12): nobody else changes it, and it is gone with the program.
const (
	countTable = "mip6-count"
	countChain = "output"
	countMap   = "pairs"

	tableOwned = 2 // NFT_TABLE_F_OWNER

	// Behind packet filters: what they drop was not sent.
	countPriority = 300
	// The type of a map's key, as nft reads it: an address and another, 6 bits each.
	keyAddrPair = 8<<6 | 8
)

// counterName names the object; nft's grammar has no colons in names.
func counterName(p addrPair) string {
	return "from" + hex.EncodeToString(p.src.AsSlice()) + "to" + hex.EncodeToString(p.dst.AsSlice())
}

// countTableMessages make the table with its chain, map and rule: look the pair of addresses up,
// and count at the counter that it names.
func countTableMessages() []nftMessage {
	table := nftNumber(nftName(nil, unix.NFTA_TABLE_NAME, countTable), unix.NFTA_TABLE_FLAGS, tableOwned)

	hook := nftNumber(nil, unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT)
	hook = nftNumber(hook, unix.NFTA_HOOK_PRIORITY, countPriority)
	chain := nftName(nftName(nil, unix.NFTA_CHAIN_TABLE, countTable), unix.NFTA_CHAIN_NAME, countChain)
	chain = nftNest(chain, unix.NFTA_CHAIN_HOOK, hook)
	chain = nftName(nftNumber(chain, unix.NFTA_CHAIN_POLICY, 1), unix.NFTA_CHAIN_TYPE, "filter") // 1: accept

	pairs := nftName(nftName(nil, unix.NFTA_SET_TABLE, countTable), unix.NFTA_SET_NAME, countMap)
	pairs = nftNumber(pairs, unix.NFTA_SET_FLAGS, unix.NFT_SET_OBJECT)
	pairs = nftNumber(nftNumber(pairs, unix.NFTA_SET_KEY_TYPE, keyAddrPair), unix.NFTA_SET_KEY_LEN, 32)
	pairs = nftNumber(nftNumber(pairs, unix.NFTA_SET_OBJ_TYPE, unix.NFT_OBJECT_COUNTER), unix.NFTA_SET_ID, 1)

	// What IPsec and route optimization make of a packet passes here a second time.
	exprs := nftLoad(nil, unix.NFT_REG_1, 6, 1)
	for _, proto := range []byte{mobility.ProtoESP, mobility.ProtoAH, mobility.ProtoRouting, mobility.ProtoDestOpts, mobility.ProtoMobility} {
		exprs = nftUnequal(exprs, unix.NFT_REG_1, proto)
	}
	// A register holds an address; source and destination stand side by side.
	exprs = nftLoad(nftLoad(exprs, unix.NFT_REG_1, 8, 16), unix.NFT_REG_2, 24, 16)
	exprs = nftExpr(exprs, "objref", nftName(nftNumber(nil, unix.NFTA_OBJREF_SET_SREG, unix.NFT_REG_1), unix.NFTA_OBJREF_SET_NAME, countMap))
	rule := nftName(nftName(nil, unix.NFTA_RULE_TABLE, countTable), unix.NFTA_RULE_CHAIN, countChain)
	rule = nftNest(rule, unix.NFTA_RULE_EXPRESSIONS, exprs)

	return []nftMessage{
		{unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, table},
		{unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, chain},
		{unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, pairs},
		{unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE | unix.NLM_F_APPEND, rule},
	}
}

// counterMessages make or delete the object and the element of the map that names it.
func counterMessages(object, element int, p addrPair, name string) []nftMessage {
	making := object == unix.NFT_MSG_NEWOBJ
	var flags int
	key := appendAttr(nil, unix.NFTA_DATA_VALUE, append(p.src.AsSlice(), p.dst.AsSlice()...))
	e := nftNest(nil, unix.NFTA_SET_ELEM_KEY, key)
	if making {
		flags = unix.NLM_F_CREATE
		e = nftName(e, unix.NFTA_SET_ELEM_OBJREF, name)
	}
	list := nftName(nftName(nil, unix.NFTA_SET_ELEM_LIST_TABLE, countTable), unix.NFTA_SET_ELEM_LIST_SET, countMap)
	list = nftNest(list, unix.NFTA_SET_ELEM_LIST_ELEMENTS, nftNest(nil, unix.NFTA_LIST_ELEM, e))
	return []nftMessage{{object, flags, counterObject(name, making)}, {element, flags, list}}
}

// counterObject names a counter; with data it is a new one.
func counterObject(name string, data bool) []byte {
	b := nftName(nftName(nil, unix.NFTA_OBJ_TABLE, countTable), unix.NFTA_OBJ_NAME, name)
	b = nftNumber(b, unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	if data {
		b = nftNest(b, unix.NFTA_OBJ_DATA, nil)
	}
	return b
}

// parseCounter finds the number of packets in the attributes of an object.
func parseCounter(attrs []byte) (packets uint64, ok bool) {
	eachAttr(attrs, func(typ uint16, v []byte) {
		if typ != unix.NFTA_OBJ_DATA {
			return
		}
		eachAttr(v, func(typ uint16, v []byte) {
			if typ == unix.NFTA_COUNTER_PACKETS && len(v) == 8 {
				packets, ok = binary.BigEndian.Uint64(v), true
			}
		})
	})
	return packets, ok
}
